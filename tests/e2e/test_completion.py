"""Completion for bash and zsh, in the shells themselves, and the JSON Schema that the command line prints."""

import argparse
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from sockjs_bridge.completion import script
from tests.bridge_process import run_command

COMMANDS = ["check", "demo", "keygen", "schema", "completion"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the script and some files to complete."""
    done = run_command("completion", "bash", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    (tmp_path / "script").write_text(done.stdout, encoding="utf-8")
    (tmp_path / "bridge.toml").touch()
    (tmp_path / "bridge two.toml").touch()
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "other.toml").touch()
    return tmp_path


def complete(folder: Path, *words: str, file: str = "script", function: str = "_sockjs_bridge") -> list[str]:
    """Let bash complete the last word of a command line, as it does when Tab is pressed."""
    code = f"""
        set -u
        source ./{file}
        complete -p {words[0]} >/dev/null || exit
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        {function}
        for reply in "${{COMPREPLY[@]}}"; do printf '%s\\n' "$reply"; done
    """
    done = subprocess.run(
        ["bash", "--norc", "-c", code, "bash", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_bash_completes_commands(folder: Path) -> None:
    assert set(COMMANDS) <= set(complete(folder, "sockjs-bridge", ""))
    assert complete(folder, "sockjs-bridge", "ch") == ["check"]
    assert complete(folder, "sockjs-bridge", "xyz") == []
    assert "check" in complete(folder, "sockjs-bridge", "--config", "check", "")


def test_bash_completes_options(folder: Path) -> None:
    assert {"--help", "--version", "--config"} <= set(complete(folder, "sockjs-bridge", "-"))
    assert complete(folder, "sockjs-bridge", "check", "--c") == ["--config"]
    assert complete(folder, "sockjs-bridge", "demo", "--c") == []
    # There is nothing else to say here.
    assert "--help" in complete(folder, "sockjs-bridge", "demo", "")


def test_bash_completes_files(folder: Path) -> None:
    both = ["bridge two.toml", "bridge.toml"]
    for words in (
        ["--config", "bri"],
        ["check", "--config", "bri"],
        # How bash cuts --config=bri.
        ["check", "--config", "=", "bri"],
        ["keygen", "bri"],
    ):
        assert sorted(complete(folder, "sockjs-bridge", *words)) == both, words
    assert "bridge.toml" in complete(folder, "sockjs-bridge", "--config", "=")
    assert complete(folder, "sockjs-bridge", "--config", "deep/") == ["deep/other.toml"]


def test_bash_completes_choices(folder: Path) -> None:
    assert complete(folder, "sockjs-bridge", "completion", "") == ["bash", "zsh"]
    assert complete(folder, "sockjs-bridge", "completion", "z") == ["zsh"]
    assert complete(folder, "sockjs-bridge", "--config", "=", "bridge.toml", "completion", "b") == ["bash"]


def many_kinds() -> argparse.ArgumentParser:
    """A parser with what the command line may come to have."""
    parser = argparse.ArgumentParser(prog="a.tool")
    connect = parser.add_subparsers().add_parser("connect", help="it's [100%%]: one")
    connect.add_argument("-t", "--transport", choices=["xhr", "websocket"])
    connect.add_argument("-H", "--header", metavar="NAME: VALUE", action="append", help="sent")
    connect.add_argument("--quiet", action="store_true")
    connect.add_argument("--secret", help=argparse.SUPPRESS)
    connect.add_argument("url")
    connect.add_argument("mode", choices=["a", "b"])
    return parser


def test_bash_completes_every_kind_of_argument(tmp_path: Path) -> None:
    (tmp_path / "tool").write_text(script("bash", many_kinds()), encoding="utf-8")
    for words, expected in {
        ("connect", "--t"): ["--transport"],
        ("connect", "-t", ""): ["xhr", "websocket"],
        ("connect", "--transport", "=", "w"): ["websocket"],
        ("connect", "--header", ""): [],
        ("connect", "--quiet", "http://h", ""): ["a", "b"],
        ("connect", "-t", "xhr", "-H", "A: b", "http://h", "b"): ["b"],
        ("connect", "--s"): [],
    }.items():
        assert complete(tmp_path, "a.tool", *words, file="tool", function="_a_tool") == expected, words


@pytest.mark.parametrize("parser", ["the program's", "many kinds"])
def test_zsh_can_read_its_script(parser: str, tmp_path: Path) -> None:
    zsh = shutil.which("zsh")
    if zsh is None:
        pytest.skip("no zsh here")
    own = run_command("completion", "zsh", folder=tmp_path).stdout
    (tmp_path / "script").write_text(own if parser != "many kinds" else script("zsh", many_kinds()))
    done = subprocess.run(
        [zsh, "-n", "script"], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_the_script_for_zsh_names_everything(tmp_path: Path) -> None:
    own = run_command("completion", "zsh", folder=tmp_path).stdout

    assert own.startswith("#compdef sockjs-bridge\n")
    for command in COMMANDS:
        assert f"'{command}:" in own
        assert f" {command}) _arguments" in own
    assert ":FILE:_files'" in own
    assert "(bash zsh)" in own


def test_what_zsh_takes_for_syntax_is_escaped() -> None:
    text = script("zsh", many_kinds())

    assert "'connect:it'\\''s [100%]: one'" in text
    # It may come again; the other may not.
    assert "'*-H+[sent]:NAME\\: VALUE: '" in text
    assert "'(-t --transport)--transport=[]:transport:(xhr websocket)'" in text
    assert "SUPPRESS" not in text
    assert "--secret" not in text


def test_another_shell_is_wrong_usage(tmp_path: Path) -> None:
    for arguments in (["completion"], ["completion", "fish"]):
        done = run_command(*arguments, folder=tmp_path)
        assert (done.returncode, done.stdout) == (64, "")
        assert done.stderr.startswith("usage: sockjs-bridge completion")


def test_schema_is_json_on_stdout(tmp_path: Path) -> None:
    done = run_command("schema", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    schema = json.loads(done.stdout)

    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert set(schema["properties"]) == {"bridge", "log", "admin", "defaults", "sessions"}
    assert schema["$defs"]["SessionConfig"]["required"] == ["url"]
    assert schema["$defs"]["SessionConfig"]["properties"]["url"]["description"]
