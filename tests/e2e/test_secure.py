"""TLS and proxies as a user meets them: `check`, the daemon, `connect` and `probe`. No password is ever shown."""

import json
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from sockjs_bridge.config import load
from tests.bridge_process import BridgeStarter, LineClient, run_command, smallest
from tests.certificates import Authority, Pair
from tests.proxies import PASSWORD, USER, ProxyServer, wait_connected
from tests.real_servers import RealServer

NOBODY = "https://127.0.0.1:1/echo"
Secured = Callable[..., RealServer]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def secured(real_server: Secured, pair: Pair) -> RealServer:
    return real_server("node", {"cert": str(pair.cert), "key": str(pair.key)})


def write(folder: Path, text: str) -> Path:
    file = folder / "bridge.toml"
    file.write_text(text, encoding="utf-8")
    return Path(file.name)


def test_every_file_and_proxy_that_cannot_be_used_is_told_at_once(
    authority: Authority, tmp_path: Path
) -> None:
    one, other = authority.issue(), authority.issue()
    text = smallest(NOBODY, session='tls = { ca = "nowhere.pem" }\nproxy = "env"\n') + (
        f'[sessions.news]\nurl = "{NOBODY}"\ntls = {{ cert = "{one.cert}", key = "{other.key}" }}\n'
        f'proxy = "socks5://{USER}@p.example:1080"\n'
    )
    wrong = "must be the URL of a proxy: http://host:port or socks5://host:port"
    wanted = [
        "chat.tls.ca: nowhere.pem: no such file or directory",
        f"chat.proxy: HTTPS_PROXY in the environment: {wrong}",
        f"news.tls.key: {other.key}: the private key does not belong to the certificate in {one.cert}",
        "news.proxy: user and password for a SOCKS5 proxy are 1 to 255 characters of ASCII each",
    ]
    for command in (["check"], []):
        done = run_command(
            *command,
            "--config",
            write(tmp_path, text),
            folder=tmp_path,
            environment=dict.fromkeys(("HTTPS_PROXY", "https_proxy"), f"ftp://{USER}:{PASSWORD}@p")
            | dict.fromkeys(("NO_PROXY", "no_proxy"), ""),
        )
        assert (done.returncode, done.stdout) == (78, "")
        assert done.stderr.splitlines() == [f"bridge.toml: sessions.{line}" for line in wanted]


def test_check_takes_what_can_be_used_and_shows_no_password(authority: Authority, tmp_path: Path) -> None:
    client = authority.issue("bridge.example")
    session = (
        f'tls = {{ ca = "{authority.file}", cert = "{client.cert}", key = "{client.key}", verify = false }}\n'
        f'proxy = "http://{USER}:{PASSWORD}@p.example:3128"\n'
    )
    done = run_command(
        "check", "--config", write(tmp_path, smallest(NOBODY, session=session)), folder=tmp_path
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert PASSWORD not in done.stdout


def test_the_log_says_what_to_do_about_an_unknown_authority(
    authority: Authority, real_server: Secured, start_bridge: BridgeStarter
) -> None:
    server = secured(real_server, authority.issue())
    bridge = start_bridge(smallest(server.url("/echo")))
    sentence = (
        "the server's certificate is from an authority that is not trusted here: set tls.ca to the file"
    )
    bridge.wait_for_log(f"cannot connect: {sentence}", level="warning", transport="websocket")


@pytest.mark.parametrize("name", ["squid", "microsocks"])
@pytest.mark.parametrize(
    "login", [f"{USER}:{PASSWORD}@", f"{USER}:{PASSWORD}-wrong@"], ids=["right", "wrong"]
)
def test_nothing_that_the_program_says_holds_the_password_of_the_proxy(
    name: str,
    login: str,
    authority: Authority,
    real_server: Secured,
    start_proxy: Callable[..., ProxyServer],
    start_bridge: BridgeStarter,
    tmp_path: Path,
) -> None:
    server, proxy = secured(real_server, authority.issue()), start_proxy(name, login=True)
    session = f'tls.ca = "{authority.file}"\nproxy = "{proxy.url_with(login)}"\n'
    admin = f"unix:{tmp_path}/admin.sock"
    more = f'[log]\nlevel = "debug"\n[admin]\nlisten = "{admin}"\n'
    bridge = start_bridge(more + smallest(server.url("/echo"), session=session))
    if "wrong" in login:
        bridge.wait_for_log(
            f"cannot connect: the proxy {proxy.url_with('')} does not accept user and password"
        )
    else:
        with LineClient(bridge.port) as client:
            assert client.exchange(["one", "two"]) == ["one", "two"]
    said = [
        run_command(*command, "--admin", admin, folder=tmp_path)
        for command in (["status"], ["status", "--json"], ["reload"], ["reconnect", "chat"], ["healthcheck"])
    ]
    assert bridge.stop() == 0
    assert "sessions" in said[1].stdout
    everything = bridge.stdout + bridge.stderr + "".join(done.stdout + done.stderr for done in said)
    assert PASSWORD not in everything
    if "wrong" not in login:
        wait_connected(proxy, server.port)


def test_the_admin_pages_hold_no_password_of_a_proxy(start_bridge: BridgeStarter) -> None:
    session = f'proxy = "http://{USER}:{PASSWORD}@127.0.0.1:1"\n'
    bridge = start_bridge('[admin]\nlisten = "127.0.0.1:0"\n' + smallest(NOBODY, session=session))
    bridge.wait_for_log("cannot connect: cannot reach the proxy http://127.0.0.1:1: connection refused")
    address = str(bridge.wait_for_log("admin ")["message"]).rpartition(" ")[2]
    for path in ("/", "/metrics", "/api/v1/status", "/healthz"):
        request = urllib.request.Request(f"http://{address.removeprefix('http://').rstrip('/')}{path}")
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                page = answer.read().decode()
        except urllib.error.HTTPError as error:
            page = error.read().decode()
        assert page
        assert PASSWORD not in page


def test_connect_through_a_proxy_with_an_own_ca(
    authority: Authority, real_server: Secured, start_proxy: Callable[..., ProxyServer], tmp_path: Path
) -> None:
    server, proxy = secured(real_server, authority.issue()), start_proxy("tinyproxy", login=True)
    secret = tmp_path / "proxy"
    secret.write_text(f"{proxy.url}\n", encoding="ascii")
    options = ["--ca", str(authority.file), "--proxy", f"@{secret}", "--once", "5", "--linger", "20"]
    done = run_command("connect", *options, server.url("/bulk"), folder=tmp_path)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["m0", "m1", "m2", "m3", "m4"], "")
    wait_connected(proxy, server.port)


def test_connect_takes_any_certificate_where_it_is_told_so(
    authority: Authority, real_server: Secured, tmp_path: Path
) -> None:
    url = secured(real_server, authority.issue("another.example")).url("/bulk")
    options = ["--once", "5", "--linger", "20"]
    refused = run_command("connect", *options, url, folder=tmp_path)
    assert (refused.returncode, refused.stdout) == (69, "")
    done = run_command("connect", "--insecure", *options, url, folder=tmp_path)
    assert (done.returncode, done.stdout.split()) == (0, ["m0", "m1", "m2", "m3", "m4"])
    assert "the server's certificate is not checked" in done.stderr


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--ca", "nowhere.pem"], "--ca: nowhere.pem: no such file or directory"),
        (["--proxy", f"ftp://{PASSWORD}@p"], '--proxy: must be "", "env", or the URL of a proxy'),
        (["--proxy", f"socks5://{PASSWORD}@p"], "--proxy: user and password for a SOCKS5 proxy are"),
    ],
)
@pytest.mark.parametrize("command", ["connect", "probe"])
def test_wrong_usage_is_told_in_the_words_of_the_options(
    command: str, options: list[str], sentence: str, tmp_path: Path
) -> None:
    done = run_command(command, *options, NOBODY, folder=tmp_path)
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr.startswith(f"sockjs-bridge {command}: {sentence}")
    assert PASSWORD not in done.stderr


def test_probe_goes_the_same_way_and_writes_it_down(
    authority: Authority, real_server: Secured, start_proxy: Callable[..., ProxyServer], tmp_path: Path
) -> None:
    server, proxy = secured(real_server, authority.issue()), start_proxy("microsocks")
    options = ["--ca", str(authority.file), "--proxy", proxy.url, server.url("/echo")]
    done = run_command("probe", *options, folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    found = tmp_path / "found.toml"
    found.write_text(
        done.stdout.partition("# A configuration that works, bridge.toml:\n")[2], encoding="utf-8"
    )
    session = load(found, {}).sessions["chat"]
    assert (session.tls.ca, session.proxy) == (str(authority.file), proxy.url)
    assert session.transports == ("websocket", "xhr-streaming", "xhr-polling")
    wait_connected(proxy, server.port)


def test_probe_shows_no_password_of_a_proxy(
    authority: Authority, real_server: Secured, start_proxy: Callable[..., ProxyServer], tmp_path: Path
) -> None:
    server, proxy = secured(real_server, authority.issue()), start_proxy("microsocks", login=True)
    options = ["--insecure", "--proxy", proxy.url, "--transport", "websocket", server.url("/echo")]
    said = [run_command("probe", *more, *options, folder=tmp_path) for more in ([], ["--json"])]
    assert [done.returncode for done in said] == [0, 0]
    assert "tls.verify = false\n# proxy = the value that you gave\n" in said[0].stdout
    assert json.loads(said[1].stdout)["works"]
    assert PASSWORD not in "".join(done.stdout + done.stderr for done in said)
