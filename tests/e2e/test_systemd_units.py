"""The units in systemd/ as systemd itself reads them: no complaint, and a tight sandbox.

What they do when they run is shown by tests/service/run_systemd.py.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UNITS = Path(__file__).resolve().parents[2] / "systemd"
NAMES = ["sockjs-bridge.service", "sockjs-bridge@.service", "sockjs-bridge.socket", "sockjs-bridge@.socket"]
SERVICES = NAMES[:2]
DROP_IN = UNITS / "sockjs-bridge.service.d" / "notify-reload.conf.example"
PROGRAM = "/usr/bin/sockjs-bridge"
MOST_EXPOSURE = 15  # tenths


@pytest.fixture(scope="module")
def systemd_analyze() -> str:
    path = shutil.which("systemd-analyze")
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail("systemd-analyze is not installed (it is in the package systemd)")
        pytest.skip("systemd-analyze is not installed")
    return path


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    """The units in a folder of their own, with a program that exists: verify looks for it."""
    for name in NAMES:
        text = (UNITS / name).read_text(encoding="utf-8").replace(PROGRAM, sys.executable)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def verify(systemd_analyze: str, file: Path) -> tuple[int, str]:
    """Return the exit code, and what is said of our units: those of the machine may have faults of their own."""
    done = subprocess.run(
        [systemd_analyze, "verify", "--man=no", str(file)],
        env=os.environ | {"SYSTEMD_UNIT_PATH": f"{file.parent}:", "LC_ALL": "C"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    about_us = [line for line in done.stderr.splitlines() if "sockjs-bridge" in line]
    return done.returncode, "\n".join(about_us)


@pytest.mark.parametrize("name", NAMES)
def test_systemd_has_nothing_to_complain_of(name: str, systemd_analyze: str, copies: Path):
    assert verify(systemd_analyze, copies / name) == (0, "")


def test_systemd_would_complain_of_a_misspelt_key(systemd_analyze: str, copies: Path):
    file = copies / NAMES[0]
    file.write_text(file.read_text(encoding="utf-8").replace("WatchdogSec", "WatchdocSec"), encoding="utf-8")
    assert "WatchdocSec" in verify(systemd_analyze, file)[1]


@pytest.mark.parametrize("folder", ["sockjs-bridge.service.d", "sockjs-bridge@.service.d"])
def test_the_drop_in_for_newer_versions(folder: str, systemd_analyze: str, copies: Path):
    answer = subprocess.run([systemd_analyze, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.match(r"systemd (\d+)", answer)
    if found is None or int(found[1]) < 253:
        pytest.skip(f"Type=notify-reload needs systemd 253, this is {answer.split(maxsplit=2)[1]}")
    (copies / folder).mkdir()
    shutil.copy(DROP_IN, copies / folder / "notify-reload.conf")
    assert verify(systemd_analyze, copies / folder.removesuffix(".d")) == (0, "")


def test_the_drop_in_leaves_the_signal_to_systemd():
    assert settings(DROP_IN) == ["Type=notify-reload", "ExecReload=", "ReloadSignal=SIGHUP"]


@pytest.mark.parametrize("name", SERVICES)
def test_the_sandbox_is_tight(name: str, systemd_analyze: str):
    done = subprocess.run(
        [systemd_analyze, "security", "--offline=true", f"--threshold={MOST_EXPOSURE}", str(UNITS / name)],
        env=os.environ | {"LC_ALL": "C.UTF-8", "SYSTEMD_PAGER": ""},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert "Overall exposure level" in done.stdout, done.stderr
    assert done.returncode == 0, done.stdout


def settings(file: Path) -> list[str]:
    lines = file.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and line[0] not in "#["]


@pytest.mark.parametrize("suffix", [".service", ".socket"])
def test_the_template_differs_in_nothing_but_names(suffix: str):
    single, template = (settings(UNITS / f"sockjs-bridge{at}{suffix}") for at in ("", "@"))
    differing = {line.partition("=")[0] for line in set(single) ^ set(template)}
    assert (
        differing
        == {
            ".service": {"Description", "ExecStart", "RuntimeDirectory", "StateDirectory"},
            ".socket": {"Description", "ListenStream", "RemoveOnStop", "SocketMode"},
        }[suffix]
    )


@pytest.mark.parametrize(
    ("name", "config", "directory"),
    [(SERVICES[0], "bridge", "sockjs-bridge"), (SERVICES[1], "%i", "sockjs-bridge-%i")],
)
def test_what_the_documentation_promises(name: str, config: str, directory: str):
    promised = {
        "Type=notify",
        f"ExecStart={PROGRAM} --config /etc/sockjs-bridge/{config}.toml",
        "ExecReload=/bin/kill -HUP $MAINPID",
        "Restart=on-failure",
        "RestartPreventExitStatus=64 78",
        "WatchdogSec=30",
        "DynamicUser=yes",
        f"StateDirectory={directory}",
        f"RuntimeDirectory={directory}",
    }
    assert promised <= set(settings(UNITS / name))
