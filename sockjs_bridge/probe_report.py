"""The findings of `probe`: a table, advice in plain sentences, and a configuration that works."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sockjs_bridge.probe_trial import LARGEST_BYTES, Heartbeat, TransportResult, Wishes

_DEFAULTS = ("websocket", "xhr-streaming", "xhr-polling")
_OTHERS = ("eventsource", "htmlfile", "jsonp-polling")
_RAW = "websocket-raw"
_UNAUTHORIZED = 401
_FORBIDDEN = 403
_NO_ENDPOINT = frozenset({404, 405, 501})
"""What servers of something else answer: they have no such page, or take no POST."""


@dataclass(frozen=True, slots=True)
class InfoResult:
    """What `GET /info` brought. None is what it did not say."""

    answered: bool
    problem: str = ""
    status: int | None = None
    seconds: float | None = None
    websocket: bool | None = None
    cookie_needed: bool | None = None
    cookies: tuple[str, ...] = ()
    """Names only."""
    unreachable: bool = False


@dataclass(frozen=True, slots=True)
class Given:
    """What the user gave, as far as it may be shown. `origin` is the value of the option."""

    shown_url: str
    has_secrets_in_url: bool
    header_names: tuple[str, ...]
    cookie_names: tuple[str, ...]
    origin: str
    way: tuple[str, ...]
    """The lines of a configuration about TLS and a proxy."""


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything that was found out."""

    given: Given
    wishes: Wishes
    info: InfoResult
    results: tuple[TransportResult, ...]

    @property
    def works(self) -> bool:
        """Whether any transport opened a session."""
        return any(result.opened for result in self.results)

    @property
    def needs_origin(self) -> bool:
        """Whether something worked only with an Origin."""
        return any(result.origin_needed for result in self.results)

    def opened(self, transport: str) -> bool:
        """Whether this transport opened a session."""
        return any(result.opened for result in self.results if result.transport == transport)

    def tried(self, transport: str) -> bool:
        """Whether this transport was tried."""
        return any(result.transport == transport for result in self.results)


def as_json(findings: Findings) -> str:
    """For machines. Times are seconds, sizes bytes."""
    document: dict[str, Any] = {
        "url": findings.given.shown_url,
        "works": findings.works,
        "info": asdict(findings.info),
        "transports": [asdict(result) for result in findings.results],
        "advice": advice(findings),
        "config": configuration(findings) if findings.works else None,
    }
    return json.dumps(document, indent=2)


def as_text(findings: Findings) -> str:
    """For people."""
    parts = [_info_line(findings), _table(findings), "\n".join(advice(findings))]
    if findings.works:
        parts.append("# A configuration that works, bridge.toml:\n" + configuration(findings).rstrip())
    return "\n\n".join(filter(None, parts))


def configuration(findings: Findings) -> str:
    """The smallest configuration that works. What may be secret is left out, and named."""
    given = findings.given
    lines = ["[sessions.chat]", f"url = {json.dumps(given.shown_url)}"]
    if given.has_secrets_in_url:
        lines[-1] += "  # and the user info and query that you gave"
    lines.append(f"transports = {json.dumps(transports_to_use(findings))}")
    origin = "same" if findings.needs_origin else given.origin
    if origin != "none":
        lines.append(f"origin = {json.dumps(origin)}")
    lines += given.way
    lines += [f"# headers.{json.dumps(name)} = the value that you gave" for name in given.header_names]
    lines += [f"# cookies.{json.dumps(name)} = the value that you gave" for name in given.cookie_names]
    lines += ["[[sessions.chat.tcp]]", 'listen = "127.0.0.1:9000"']
    return "\n".join(lines) + "\n"


def transports_to_use(findings: Findings) -> list[str]:
    """Those that work, in the order in which they are best tried.

    The ones beyond the defaults only where none of these works: eventsource has to guess about percent
    signs, the other two are slow, and a raw WebSocket shows neither heartbeats nor close codes.
    """
    for group in (_DEFAULTS, _OTHERS, (_RAW,)):
        working = [name for name in group if findings.opened(name)]
        if working:
            return working
    return []


def advice(findings: Findings) -> list[str]:
    """What a user should know, most important first."""
    if not findings.works:
        return [_why_nothing_works(findings)]
    sentences: list[str] = []
    for look in (_about_websocket, _about_origin, _about_cookies, _about_echo, _about_heartbeat, _about_size):
        sentences += look(findings)
    return sentences


def _why_nothing_works(findings: Findings) -> str:
    statuses = {result.status for result in findings.results}
    if findings.info.unreachable or any(result.unreachable for result in findings.results):
        return "The server cannot be reached. Is the address right, and does the server run?"
    if statuses <= _NO_ENDPOINT:
        return (
            "The server answers, but there is no SockJS endpoint at this URL. It is the one that a page gives to "
            "`new SockJS(...)`, such as http://host/echo."
        )
    if statuses & {_UNAUTHORIZED, _FORBIDDEN}:
        return "The server refuses us. It may want a login: give its header or cookie with -H, or another --origin."
    return "No transport works."


def _about_websocket(findings: Findings) -> list[str]:
    sentences = []
    framed = any(findings.opened(name) for name in (*_DEFAULTS, *_OTHERS))
    if findings.tried("websocket") and not findings.opened("websocket") and framed:
        why = (
            "the server has it switched off, says its /info"
            if findings.info.websocket is False
            else "a proxy on the way may block it, or the server has it switched off"
        )
        sentences.append(f"WebSocket does not work here: {why}. The bridge goes on without it.")
    if findings.opened(_RAW) and not framed:
        sentences.append("Only the raw WebSocket works: the server may be no SockJS server.")
    return sentences


def _about_origin(findings: Findings) -> list[str]:
    if not findings.needs_origin:
        return []
    return ['The server wants an Origin header: origin = "same" sends its own.']


def _about_cookies(findings: Findings) -> list[str]:
    sentences = []
    names = sorted({*findings.info.cookies, *(name for each in findings.results for name in each.cookies)})
    if findings.info.cookie_needed:
        sentences.append(
            "The server needs its cookies back (cookie_needed), as behind a load balancer. The bridge sends them."
        )
    if names:
        sentences.append(f"Cookies were set: {', '.join(map(_plain, names))}.")
    return sentences


def _about_echo(findings: Findings) -> list[str]:
    opened = [result for result in findings.results if result.opened]
    if findings.wishes.sends and not any(result.echoes for result in opened):
        return ["The server sends nothing back, so there is no round-trip time. That is no fault."]
    return []


def _about_heartbeat(findings: Findings) -> list[str]:
    wait = findings.wishes.heartbeat_wait
    if not wait:
        return ["Heartbeats were not waited for: --heartbeat-wait 30 does."]
    silent = [
        result.transport
        for result in findings.results
        if result.opened and result.heartbeat is Heartbeat.NONE
    ]
    if not silent:
        return []
    seen = f"No heartbeat came within {wait:g} s over {', '.join(silent)}."
    return [f"{seen} Where none ever comes, the bridge does not take silence for the end."]


def _about_size(findings: Findings) -> list[str]:
    if not findings.wishes.measures_size:
        return ["The size limit was not measured: --size-limit does, on a server that echoes."]
    refused: dict[int, list[str]] = {}
    for result in findings.results:
        if result.smallest_refused is not None:
            refused.setdefault(result.smallest_refused, []).append(result.transport)
    return [
        f"A message of {_size(size)} did not come back over {', '.join(names)}."
        for size, names in sorted(refused.items())
    ]


def _info_line(findings: Findings) -> str:
    info = findings.info
    if not info.answered:
        return f"{findings.given.shown_url}\n/info: {info.problem}"
    said = f"websocket {_yes_no(info.websocket)}, cookie_needed {_yes_no(info.cookie_needed)}"
    return f"{findings.given.shown_url}\n/info: answered in {_milliseconds(info.seconds)}; {said}"


_Column = tuple[str, Callable[[TransportResult], str]]


def _table(findings: Findings) -> str:
    if not findings.results:
        return ""
    columns = _columns(findings.wishes)
    rows = [[heading for heading, _ in columns]]
    rows += [[show(result) for _, show in columns] for result in findings.results]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(
        f"{line}  {result.problem}".rstrip() if result else line.rstrip()
        for line, result in zip(lines, [None, *findings.results], strict=True)
    )


def _columns(wishes: Wishes) -> Sequence[_Column]:
    return (
        ("transport", lambda result: result.transport),
        ("opens", _opens),
        ("in", lambda result: _milliseconds(result.open_seconds)),
        ("round trip", lambda result: _round_trip(result, wishes)),
        ("heartbeat", lambda result: _heartbeat(result, wishes)),
        ("largest", lambda result: _largest(result, wishes)),
        ("cookies", lambda result: ", ".join(map(_plain, result.cookies)) or "-"),
    )


def _opens(result: TransportResult) -> str:
    if not result.opened:
        return "no"
    return "with Origin" if result.origin_needed else "yes"


def _round_trip(result: TransportResult, wishes: Wishes) -> str:
    if not result.opened:
        return "-"
    if not wishes.sends:
        return "off"
    return _milliseconds(result.round_trip_seconds) if result.echoes else "no echo"


def _heartbeat(result: TransportResult, wishes: Wishes) -> str:
    if not result.opened:
        return "-"
    return str(result.heartbeat) if wishes.heartbeat_wait else "off"


def _largest(result: TransportResult, wishes: Wishes) -> str:
    if not result.opened:
        return "-"
    if not wishes.measures_size:
        return "off"
    if result.largest_accepted is None:
        return "no echo" if not result.echoes else "-"
    at_least = ">= " if result.largest_accepted == LARGEST_BYTES else ""
    return at_least + _size(result.largest_accepted)


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.1f} ms"


def _size(size_bytes: int | None) -> str:
    if size_bytes is None:
        return "-"
    return f"{size_bytes >> 20} MiB" if size_bytes >= 1 << 20 else f"{size_bytes >> 10} KiB"


def _yes_no(value: bool | None) -> str:
    return "?" if value is None else str(value).lower()


def _plain(text: str) -> str:
    # The server chose it: on a terminal it must not do anything.
    return ascii(text)[1:-1]
