"""The page for people, as HTML: readable as it is, kept live by a few lines of script in it."""

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from sockjs_bridge.admin.rates import RateBook, Rates

_WIDTH, _HEIGHT = 120, 30
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_COUNTS = ("clients", "sessions", "peers", "subscribers", "waiting")
_ON_DEMAND = "on_demand"


class Page:
    """Renders the status document."""

    def __init__(self, rates: RateBook) -> None:
        self._rates = rates
        self._template = Template(
            files("sockjs_bridge.admin").joinpath("page.html").read_text(encoding="utf-8")
        )

    def render(self, document: dict[str, Any], nonce: str) -> str:
        """The whole page; `nonce` is what its Content-Security-Policy lets through."""
        return self._template.substitute(nonce=nonce, **self.parts(document))

    def parts(self, document: dict[str, Any]) -> dict[str, str]:
        """What changes, as HTML by the id of its element."""
        sessions = document["sessions"]
        is_open = sum(session["state"] in {"open", _ON_DEMAND} for session in sessions)
        summary = (
            f"{is_open} of {len(sessions)} sessions open. Version {escape(document['version'])}, "
            f"running for {duration(document['uptime_seconds'])}."
        )
        cards = [_card(session, self._rates.of(session["name"])) for session in sessions]
        return {"summary": summary, "sessions": "\n".join(cards)}


def duration(seconds: float) -> str:
    """Seconds for people, in at most two units."""
    whole = int(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def _card(session: dict[str, Any], rates: Rates) -> str:
    name, state = escape(session["name"]), escape(session["state"])
    label = state.replace("_", " ")
    rows = "".join(f"<dt>{term}</dt><dd>{value}</dd>" for term, value in _rows(session))
    listeners = "".join(f"<li>{_listener(each)}</li>" for each in session["listeners"])
    return (
        f'<article aria-labelledby="name-{name}"><header><h2 id="name-{name}">{name}</h2>'
        f'<span class="state {state}">{label}</span></header>'
        f'<p class="url">{escape(session["url"])}</p>'
        f"{_plot(name, rates)}<dl>{rows}</dl>"
        f"<h3>Listeners</h3><ul>{listeners or '<li>none</li>'}</ul>"
        f"{_button(name) if state != _ON_DEMAND else ''}</article>"
    )


def _button(name: str) -> str:
    return f'<button type="button" data-reconnect="{name}" aria-label="Reconnect {name}">Reconnect</button>'


def _rows(session: dict[str, Any]) -> list[tuple[str, str]]:
    queue, messages, is_open = session["queue"], session["messages"], session["state"] == "open"
    state = escape(str(session["state"])).replace("_", " ").capitalize()
    rows = [(f"{state} for", duration(session["for_seconds"]))]
    if session["state"] != _ON_DEMAND:
        rows += [
            ("Transport" if is_open else "Tried last", escape(session["transport"] or "nothing yet")),
            ("Epoch", str(session["epoch"])),
        ]
    rows += [
        ("From the server", f"{messages['from_server']} messages"),
        ("To the server", f"{messages['to_server']} messages"),
        (
            "Queue",
            f"{queue['messages']} messages, {queue['bytes']} bytes, oldest {queue['oldest_seconds']:g} s",
        ),
    ]
    if session["next_try_seconds"] is not None:
        rows.insert(1, ("Next try", f"in {session['next_try_seconds']:g} s"))
    if messages["in_doubt"]:
        rows.append(("In doubt", str(messages["in_doubt"])))
    if session["dropped"]:
        dropped = ", ".join(f"{escape(reason)} {count}" for reason, count in session["dropped"].items())
        rows.append(("Dropped", f'<span class="bad">{dropped}</span>'))
    if session["last_close"]:
        close = session["last_close"]
        reason = f" ({escape(close['reason'])})" if close["reason"] else ""
        rows.append(("Last close", f"{escape(close['cause'])} {close['code']}{reason}, {_ago(close)}"))
    if session["last_failure"] and not is_open:
        failure = session["last_failure"]
        rows.append(
            ("Last failure", f"{escape(failure['transport'])}: {escape(failure['detail'])}, {_ago(failure)}")
        )
    return rows


def _ago(event: dict[str, Any]) -> str:
    return f'<time datetime="{escape(event["at"])}">{duration(event["ago_seconds"])} ago</time>'


def _listener(known: dict[str, Any]) -> str:
    counts = ", ".join(
        f"{known[count]} {count.removesuffix('s') if known[count] == 1 else count}"
        for count in _COUNTS
        if count in known
    )
    return f"{escape(str(known['type']))} {escape(str(known['address']))}: {counts or 'no program'}"


def _plot(name: str, rates: Rates) -> str:
    highest = max(*rates.from_server, *rates.to_server, 1)
    now_in, now_out = rates.from_server[-1], rates.to_server[-1]
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="Messages a second of {name} in the last minute: now {now_in} from the server, {now_out} to it">'
        f"{_line('in', rates.from_server, highest)}{_line('out', rates.to_server, highest)}</svg>"
        f'<p class="url"><span class="in">{now_in}/s from the server</span>, '
        f'<span class="out">{now_out}/s to it</span></p>'
    )


def _line(kind: str, samples: Sequence[int], highest: int) -> str:
    step = _WIDTH / (len(samples) - 1)
    points = " ".join(
        f"{index * step:.1f},{_HEIGHT - 1 - (_HEIGHT - 2) * sample / highest:.1f}"
        for index, sample in enumerate(samples)
    )
    return f'<polyline class="{kind}" points="{points}"></polyline>'
