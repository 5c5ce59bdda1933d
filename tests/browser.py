"""A headless Chromium, driven over the WebDriver protocol (W3C) by chromedriver."""

import base64
import json
import os
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

# It takes a port that is free on one of IPv4 and IPv6, and ends where the other is taken.
_STARTS = 5
_SECONDS = 30
# As root in a container there is no sandbox; nothing is to be fetched beside the page.
_ARGUMENTS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Browser:
    """One window."""

    def __init__(self, base: str) -> None:
        self._base = base

    def open(self, url: str) -> None:
        self._command("POST", "/url", {"url": url})

    def run(self, script: str, *arguments: Any) -> Any:
        """The value of a JavaScript function body."""
        return self._command("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def resize(self, width: int, height: int) -> None:
        # Not the window: that has a smallest width.
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def prefer(self, scheme: str) -> None:
        self.devtools(
            "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}]
        )

    def devtools(self, command: str, **parameters: Any) -> Any:
        return self._command("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def screenshot(self) -> bytes:
        return base64.b64decode(self._command("GET", "/screenshot"))

    def close(self) -> None:
        self._command("DELETE", "")

    def _command(self, method: str, path: str, content: dict[str, Any] | None = None) -> Any:
        return request(method, self._base + path, content)


def request(method: str, url: str, content: dict[str, Any] | None = None) -> Any:
    body = None if content is None else json.dumps(content).encode()
    asked = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(asked, timeout=_SECONDS) as answer:
        return json.load(answer)["value"]


@contextmanager
def browser(*, scripts: bool = True) -> Iterator[Browser]:
    """A browser for the length of a `with` block; without JavaScript if asked for."""
    driver, chromium = shutil.which("chromedriver"), shutil.which("chromium")
    if driver is None or chromium is None:
        reason = "chromium and chromedriver are not installed (Debian: chromium, chromium-driver)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, _running(driver) as base:
        options: dict[str, Any] = {"binary": chromium, "args": [*_ARGUMENTS, f"--user-data-dir={profile}"]}
        if not scripts:
            options["prefs"] = {"profile.managed_default_content_settings.javascript": 2}
        capabilities = {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}
        session = request("POST", f"{base}/session", {"capabilities": capabilities})["sessionId"]
        window = Browser(f"{base}/session/{session}")
        try:
            yield window
        finally:
            window.close()


@contextmanager
def _running(driver: str) -> Iterator[str]:
    """The address of a chromedriver that runs for the length of a `with` block."""
    for _ in range(_STARTS):
        with subprocess.Popen([driver, "--port=0"], stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                line = next((line for line in process.stdout if "started successfully on port" in line), "")
                if line:
                    yield f"http://127.0.0.1:{line.split()[-1].rstrip('.')}"
                    return
            finally:
                process.terminate()
    raise AssertionError("chromedriver finds no port that is free on IPv4 and IPv6 alike")
