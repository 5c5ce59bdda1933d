"""Arguments of commands that have many. Nothing is imported that would make `--help` slow."""

import argparse

TRANSPORTS = (
    "websocket",
    "xhr-streaming",
    "xhr-polling",
    "eventsource",
    "htmlfile",
    "jsonp-polling",
    "websocket-raw",
)
"""All transports, in the order in which a new configuration would try them."""
FRAMINGS = ("lines", "json", "nul", "netstring", "length32")
_SHORTEST_SECONDS = 0.01
_LONGEST_SECONDS = 24 * 3600.0

CONNECT_HELP = """\
One session on standard input and output: each line becomes a message, each message a line.

  echo hi | sockjs-bridge connect http://localhost:8081/echo
  sockjs-bridge connect http://localhost:8081/chat             on a terminal: Ctrl-D leaves
  sockjs-bridge connect --once 1 http://localhost:8081/ticks   the next message
"""
CONNECT_EXIT_CODES = """\
exit codes: 0 done, 64 wrong usage, 69 no session could be opened, or the server ended it too early,
130 Ctrl-C. There is no second try: the daemon is for sessions that have to last.
"""
PROBE_HELP = """\
Tries GET /info and every transport, says what works, and prints a configuration that does.
To see whether the server echoes, one message is sent over each transport; --no-send leaves it out.

  sockjs-bridge probe http://localhost:8081/echo
  sockjs-bridge probe --heartbeat-wait 30 --size-limit http://localhost:8081/echo
  sockjs-bridge probe -H @headers.txt --json https://example.org/chat
"""
PROBE_EXIT_CODES = "exit codes: 0 some transport works, 64 wrong usage, 69 none does"
EXAMPLES = {
    "check": """\
examples:
  sockjs-bridge check --config bridge.toml
  SOCKJS_BRIDGE_SESSIONS__CHAT__URL=http://localhost:8081/echo sockjs-bridge check

exit codes: 0 it can be used, 78 it cannot: every mistake is told
""",
    "demo": """\
example:
  sockjs-bridge demo          in one terminal
  nc localhost 9000           in others: who writes a line writes to all of them
""",
    "status": """\
examples:
  sockjs-bridge status --config bridge.toml
  sockjs-bridge status --watch --admin 127.0.0.1:9180
  sockjs-bridge status --json --admin unix:/run/sockjs-bridge/admin.sock | jq '.sessions[].state'
""",
    "reload": """\
examples:
  sockjs-bridge reload --config bridge.toml
  SOCKJS_BRIDGE_ADMIN__TOKEN=... sockjs-bridge reload --admin 192.0.2.7:9180

exit codes: 0 done, 69 no answer or refused, 78 the configuration cannot be used, and nothing has changed
""",
    "reconnect": """\
example:
  sockjs-bridge reconnect chat --config bridge.toml
""",
    "healthcheck": """\
examples:
  sockjs-bridge healthcheck --config bridge.toml
  sockjs-bridge healthcheck --session chat --admin 127.0.0.1:9180
""",
    "keygen": """\
example:
  sockjs-bridge keygen bridge.key      then: curve = { secret_key_file = "bridge.key", allow = ["..."] }
""",
    "schema": """\
example:
  sockjs-bridge schema > bridge.schema.json      for an editor that knows JSON Schema
""",
    "completion": """\
examples:
  source <(sockjs-bridge completion bash)
  sockjs-bridge completion zsh > ~/.zfunc/_sockjs-bridge      with that folder in $fpath
""",
}
"""What stands at the end of the help of the other commands."""


def add_connect(parser: argparse.ArgumentParser) -> None:
    """Say what `connect` takes."""
    _describe(parser, CONNECT_HELP, CONNECT_EXIT_CODES)
    _add_server(parser, transport_help="use this transport; several are tried in this order")
    parser.add_argument(
        "--framing", choices=FRAMINGS, default="lines", help="of both streams, default: lines"
    )
    parser.add_argument("--once", type=_count, metavar="N", help="leave after N messages have come")
    parser.add_argument(
        "--timeout",
        type=_positive,
        default=10.0,
        metavar="SECONDS",
        help="for a session to open, shared by the transports; default: 10",
    )
    parser.add_argument(
        "--linger",
        type=_seconds,
        metavar="SECONDS",
        help="after the end of the input, stay until so long passes without output; default: 2, "
        "with --once for ever, on a terminal 0",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="tell on standard error what happens")


def add_probe(parser: argparse.ArgumentParser) -> None:
    """Say what `probe` takes."""
    _describe(parser, PROBE_HELP, PROBE_EXIT_CODES)
    _add_server(parser, transport_help="try this transport only; may be given several times")
    parser.add_argument(
        "--timeout",
        type=_positive,
        default=5.0,
        metavar="SECONDS",
        help="for each transport to connect, and again for its open frame; default: 5",
    )
    parser.add_argument(
        "--heartbeat-wait",
        type=_seconds,
        default=0.0,
        metavar="SECONDS",
        help="wait so long for heartbeats (servers send one in 25 s, as a rule); default: 0, do not wait",
    )
    parser.add_argument(
        "--size-limit", action="store_true", help="send larger and larger messages, up to 1 MiB, to an echo"
    )
    parser.add_argument("--no-send", action="store_true", help="send no message at all")
    parser.add_argument("--json", action="store_true", help="for machines")


def add_admin(parser: argparse.ArgumentParser) -> None:
    """Say where the admin listener of a running bridge is; `--config` is added by the caller."""
    parser.add_argument(
        "--admin",
        metavar="ADDR",
        help='the admin listener: "127.0.0.1:9180" or "unix:/path" (else as configured)',
    )


def _describe(parser: argparse.ArgumentParser, description: str, epilog: str) -> None:
    parser.description = description
    parser.epilog = epilog
    parser.formatter_class = argparse.RawDescriptionHelpFormatter


def _add_server(parser: argparse.ArgumentParser, *, transport_help: str) -> None:
    parser.add_argument(
        "url", metavar="URL", help="as for a page's `new SockJS(...)`; @FILE reads it from a file"
    )
    parser.add_argument(
        "-H",
        "--header",
        action="append",
        default=[],
        dest="headers",
        metavar="HEADER",
        help='"Name: value", for every request; @FILE reads such lines from a file, so that no secret '
        "is on the command line; may be given several times",
    )
    parser.add_argument(
        "--transport",
        action="append",
        choices=TRANSPORTS,
        dest="transports",
        metavar="NAME",
        help=f"{transport_help}: {', '.join(TRANSPORTS)}",
    )
    parser.add_argument(
        "--origin", metavar="ORIGIN", help='"none" (default), "same", or such as http://host:8080'
    )
    parser.add_argument(
        "--ca", metavar="FILE", help="a PEM file with the authorities to trust, in place of the system's"
    )
    parser.add_argument("--insecure", action="store_true", help="take any certificate, with a warning")
    parser.add_argument(
        "--proxy",
        metavar="PROXY",
        help='"env" (HTTP_PROXY and its like), or such as http://host:3128, socks5://host:1080; @FILE reads it '
        "from a file",
    )


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= _LONGEST_SECONDS:
        raise ValueError(text)
    return seconds


def _positive(text: str) -> float:
    seconds = _seconds(text)
    if seconds < _SHORTEST_SECONDS:
        raise ValueError(text)
    return seconds


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise ValueError(text)
    return count


# argparse names them in "invalid ... value".
_seconds.__name__ = _positive.__name__ = "number of seconds"
_count.__name__ = "count"
