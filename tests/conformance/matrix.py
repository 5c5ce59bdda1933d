"""The conformance matrix: which cells it has, what is special about some, and how the README shows it.

`make matrix` runs this file: it runs the tests of the matrix and writes what came out into the README.
"""

import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.real_servers import SERVER_NAMES

_PROJECT = Path(__file__).resolve().parent.parent.parent
README = _PROJECT / "README.md"
_PINS = _PROJECT / "tests" / "conformance" / "servers"
_BEGIN = "<!-- written by `make matrix` -->\n"
_END = "<!-- end of what `make matrix` writes -->\n"

WRITING_VARIABLE = "MATRIX_IS_BEING_WRITTEN"
"""Set while `make matrix` runs the tests: then what the README says does not count."""

TRANSPORTS = (
    "websocket",
    "xhr-streaming",
    "xhr-polling",
    "eventsource",
    "htmlfile",
    "jsonp-polling",
    "websocket-raw",
)
WEBSOCKETS = ("websocket", "websocket-raw")
STREAMS = ("xhr-streaming", "eventsource", "htmlfile")
POLLS = ("xhr-polling", "jsonp-polling")

# What each test of test_matrix.py is about, in the order of the columns.
CHECKS = {
    "open": "the session opens over this transport alone, a message comes back, a stop takes leave",
    "echo": "every character of the Basic Multilingual Plane and some of each other one, quotes, percent signs, lone "
    "surrogates, 1 MB, the empty message, 10 000 in one go: all come back, exact and in order",
    "heartbeat": "heartbeats hold an idle session beyond `silence_timeout`, and it is given up when they end",
    "limit": "4800 messages each way, while the server ends its response every 4 KiB: none lost, doubled or out of order",
    "close": "code and reason of the server are in the log, also with quotes and when it closes at once",
    "restart": "after SIGKILL and a new start of the server there is a new session; the program stayed connected, and "
    "what it wrote meanwhile arrives",
    "cookie": "JSESSIONID is sent back with every request, also after a reconnect",
}


@dataclass(frozen=True)
class Note:
    """Something that a server does in its own way. The tests ask for it: what it says is what they check."""

    text: str
    check: str
    where: Mapping[str, tuple[str, ...]]


def _everywhere(*transports: str) -> dict[str, tuple[str, ...]]:
    return dict.fromkeys(transports, SERVER_NAMES)


PERCENT = Note(
    'with `eventsource_encoding` set to what the server does: "percent" for sockjs-node, "none" for the others',
    "echo",
    _everywhere("eventsource"),
)
NO_SURROGATES = Note(
    "WebSocket text has no lone surrogates: they arrive as U+FFFD", "echo", _everywhere("websocket-raw")
)
NO_EMPTY = Note("the server drops empty messages here", "echo", {"websocket-raw": ("tornado", "aio")})
PING = Note(
    "the heartbeat is a PING of WebSocket",
    "heartbeat",
    {"websocket": ("node", "aio"), "websocket-raw": ("aio",)},
)
NO_HEARTBEAT = Note(
    "the server sends no heartbeat here; the session stays all the same",
    "heartbeat",
    dict.fromkeys(STREAMS, ("tornado",)) | {"websocket-raw": ("node", "tornado")},
)
NO_LIMIT = Note(
    "no response to end: the same messages over one connection", "limit", _everywhere(*WEBSOCKETS)
)
POLL_LIMIT = Note("each response ends after one frame", "limit", _everywhere(*POLLS))
NO_CODE = Note("the server closes without code and reason: 1005", "close", {"websocket-raw": ("tornado",)})
OTHER_CODE = Note('the server always says 1000 "Go away!"', "close", {"websocket-raw": ("aio",)})
BROKEN_CLOSE = Note(
    "a session that the application closes as it opens ends in a broken response: 1006. Later closes are as they should be",
    "close",
    dict.fromkeys(POLLS, ("tornado",)),
)
OWN_COOKIE = Note(
    "no server sets cookies in a WebSocket handshake: a configured JSESSIONID is sent",
    "cookie",
    _everywhere(*WEBSOCKETS),
)
NOTES = (
    PERCENT,
    NO_SURROGATES,
    NO_EMPTY,
    PING,
    NO_HEARTBEAT,
    NO_LIMIT,
    POLL_LIMIT,
    NO_CODE,
    OTHER_CODE,
    BROKEN_CLOSE,
    OWN_COOKIE,
)


@dataclass(frozen=True)
class Cell:
    """One transport to one server."""

    transport: str
    server: str

    def has(self, note: Note) -> bool:
        """Whether the server does here what the note says."""
        return self.server in note.where.get(self.transport, ())

    def __str__(self) -> str:
        """Return how the name of a test ends."""
        return f"{self.transport}-{self.server}"


CELLS = tuple(Cell(transport, server) for transport in TRANSPORTS for server in SERVER_NAMES)

Results = dict[tuple[Cell, str], str]
"""What came out of each check in each cell: "ok", "FAIL", or "not run"."""


def pinned_versions() -> dict[str, str]:
    """Return the version of each server that `make servers` installs."""
    pins = {
        "node": r"^sockjs@(\S+)$",
        "tornado": r"^sockjs-tornado==(\S+)",
        "aio": r"^sockjs==(\S+)",
    }
    files = {"node": "node-packages.txt"}
    found: dict[str, str] = {}
    for server, pattern in pins.items():
        text = (_PINS / files.get(server, f"requirements-{server}.txt")).read_text(encoding="utf-8")
        match = re.search(pattern, text, re.MULTILINE)
        assert match, f"no version of {server}"
        found[server] = match[1]
    return found


def render(results: Results) -> str:
    """Return what stands between the two comments of the README."""
    names = {"node": "npm `sockjs`", "tornado": "PyPI `sockjs-tornado`", "aio": "PyPI `sockjs` (aiohttp)"}
    shown = {server: f"{names[server]} {version}" for server, version in pinned_versions().items()}
    lines = [f"| transport | server | {' | '.join(CHECKS)} |", "|---" * (len(CHECKS) + 2) + "|"]
    for cell in CELLS:
        marks = [results.get((cell, check), "not run") + _numbers(cell, check) for check in CHECKS]
        lines.append(f"| `{cell.transport}` | {shown[cell.server]} | {' | '.join(marks)} |")
    lines += ["", *(f"- {check}: {meaning}." for check, meaning in CHECKS.items()), ""]
    lines += [f"({number}) {note.text}.  " for number, note in enumerate(NOTES, 1)]
    return "\n".join(lines) + "\n"


def _numbers(cell: Cell, check: str) -> str:
    numbers = [str(number) for number, note in enumerate(NOTES, 1) if note.check == check and cell.has(note)]
    return f" ({', '.join(numbers)})" if numbers else ""


def section(readme: str) -> str:
    """Return the part of the README that is generated."""
    return readme.partition(_BEGIN)[2].partition(_END)[0]


def claims(text: str) -> Results:
    """Read the results back from a generated section, by the places of rows and columns."""
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    return {
        (cell, check): mark.partition(" (")[0]
        for cell, row in zip(CELLS, rows, strict=False)
        for check, mark in zip(CHECKS, row.strip("| ").split(" | ")[2:], strict=False)
    }


def read_results(junit: ET.Element) -> Results:
    """Read what came out of a run from the report that pytest writes."""
    results: Results = {}
    by_name = {f"test_{check}[{cell}]": (cell, check) for cell in CELLS for check in CHECKS}
    for case in junit.iter("testcase"):
        key = by_name.get(case.get("name", ""))
        if key is not None:
            bad = {"failure", "error"} & {child.tag for child in case}
            skipped = case.find("skipped") is not None
            results[key] = "FAIL" if bad else "not run" if skipped else "ok"
    return results


def main() -> int:
    """Run the matrix, write the README; 0 where every cell is ok."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "junit.xml"
        tests = Path(__file__).with_name("test_matrix.py")
        subprocess.run(
            [sys.executable, "-m", "pytest", "-n", "auto", f"--junitxml={report}", *sys.argv[1:], str(tests)],
            cwd=_PROJECT,
            # CI: a server that is not installed is a failure and not a skipped test.
            env=os.environ | {WRITING_VARIABLE: "1", "CI": "true"},
            check=False,
        )
        results = read_results(ET.parse(report).getroot())
    readme = README.read_text(encoding="utf-8")
    before, begin, rest = readme.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    assert begin, f"no line {_BEGIN.strip()} in {README}"
    assert end, f"no line {_END.strip()} in {README}"
    README.write_text(before + begin + render(results) + end + after, encoding="utf-8")
    bad = [
        f"test_{check}[{cell}]" for cell in CELLS for check in CHECKS if results.get((cell, check)) != "ok"
    ]
    print(f"{README.name} is written;", f"not ok: {', '.join(bad)}" if bad else "every cell is ok")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
