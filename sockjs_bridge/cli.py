"""The command line. Only what a command needs is imported, so that `--help` and `check` are quick."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from sockjs_bridge import __version__
from sockjs_bridge.cli_arguments import EXAMPLES, add_admin, add_connect, add_probe
from sockjs_bridge.errors import BindError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sockjs_bridge.config import Config
    from sockjs_bridge.secret_store import SecretStore

EXIT_OK = 0
EXIT_USAGE = 64
EXIT_CONFIG = 78
EXIT_INTERRUPTED = 130

_EXAMPLES = """\
examples:
  sockjs-bridge --config bridge.toml         run the daemon
  sockjs-bridge check --config bridge.toml   look for mistakes, connect to nothing
  sockjs-bridge demo                         a chat server and a bridge; then: nc localhost 9000
  sockjs-bridge probe http://localhost:8081/echo               what works with this server?
  echo hi | sockjs-bridge connect http://localhost:8081/echo   one session on standard input and output
  sockjs-bridge status --config bridge.toml  the sessions of the running daemon
  sockjs-bridge keygen bridge.key            a CURVE key pair for a ZeroMQ endpoint

the smallest bridge.toml:
  [sessions.chat]
  url = "http://localhost:8081/echo"
  [[sessions.chat.tcp]]
  listen = "127.0.0.1:9000"

exit codes: 0 done, 64 wrong usage, 69 the server was unavailable, 78 wrong configuration
"""


class _Parser(argparse.ArgumentParser):
    """Leaves with the exit code for wrong usage that sysexits.h gives."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(EXIT_USAGE, f"{self.prog}: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        code = int(options.command(options))
        if sys.stdout is not None:
            sys.stdout.flush()
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIG
    except BrokenPipeError:  # whoever read our output has enough, such as `head`
        sys.stdout = None  # or the interpreter complains of what it cannot flush
        return EXIT_OK
    return code


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="sockjs-bridge",
        description="Keeps SockJS sessions alive and joins local programs to them, over TCP lines and ZeroMQ.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"sockjs-bridge {__version__}")
    parser.set_defaults(command=_run)
    _add_config(parser)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="name")
    check = commands.add_parser(
        "check", help="validate the configuration and print what it would do", allow_abbrev=False
    )
    _add_config(check)
    check.set_defaults(command=_check)
    demo = commands.add_parser(
        "demo", help="run a SockJS chat server and the bridge in front of it", allow_abbrev=False
    )
    demo.set_defaults(command=_demo)
    _add_operating(commands)
    connect = commands.add_parser(
        "connect", help="one session on standard input and output", allow_abbrev=False
    )
    add_connect(connect)
    connect.set_defaults(command=_connect)
    probe = commands.add_parser("probe", help="find out what works with a server", allow_abbrev=False)
    add_probe(probe)
    probe.set_defaults(command=_probe)
    keygen = commands.add_parser(
        "keygen",
        help="make a CURVE key pair for ZeroMQ endpoints",
        description="Writes the secret key to a new FILE of mode 0600 and prints the public key.",
        allow_abbrev=False,
    )
    keygen.add_argument("file", metavar="FILE", help="where the secret key goes; must not exist yet")
    keygen.set_defaults(command=_keygen)
    _add_generated(commands)
    for name, examples in EXAMPLES.items():
        commands.choices[name].epilog = examples
        commands.choices[name].formatter_class = argparse.RawDescriptionHelpFormatter
    return parser


def _add_operating(commands: "argparse._SubParsersAction[_Parser]") -> None:
    status = commands.add_parser("status", help="show the sessions of a running bridge", allow_abbrev=False)
    status.add_argument("--json", action="store_true", help="the whole status document")
    status.add_argument("--watch", action="store_true", help="again every two seconds, until Ctrl-C")
    reload = commands.add_parser(
        "reload", help="let a running bridge load its configuration again", allow_abbrev=False
    )
    reconnect = commands.add_parser("reconnect", help="let one session connect anew", allow_abbrev=False)
    reconnect.add_argument("session", metavar="NAME")
    healthcheck = commands.add_parser(
        "healthcheck", help="exit 0 if a running bridge serves programs, else 69", allow_abbrev=False
    )
    healthcheck.add_argument("--session", metavar="NAME", help="ask whether this session is open instead")
    for parser in (status, reload, reconnect, healthcheck):
        _add_config(parser)
        add_admin(parser)
        parser.set_defaults(command=_operate)


def _operate(options: argparse.Namespace) -> int:
    from sockjs_bridge import operate

    try:
        return operate.run(options)
    except operate.AdminError as error:
        *problems, last = str(error).splitlines()
        print(*problems, f"sockjs-bridge {options.name}: {last}", sep="\n", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _add_generated(commands: "argparse._SubParsersAction[_Parser]") -> None:
    schema = commands.add_parser(
        "schema", help="print the JSON Schema of the configuration", allow_abbrev=False
    )
    schema.set_defaults(command=_schema)
    completion = commands.add_parser(
        "completion",
        help="print a completion script for a shell",
        allow_abbrev=False,
    )
    completion.add_argument("shell", choices=("bash", "zsh"), help="the shell to complete in")
    completion.set_defaults(command=_completion)


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        default=argparse.SUPPRESS,
        help="TOML file; SOCKJS_BRIDGE_... variables override it, or replace it",
    )


def _load(options: argparse.Namespace, secrets: "SecretStore | None" = None) -> "Config":
    from sockjs_bridge.config import load

    return load(getattr(options, "config", None), os.environ, secrets)


def _run(options: argparse.Namespace) -> int:
    # The kernel keeps a blocked signal. For the first process of a container, it throws one away that nobody
    # handles; the loop does so a while later, and unblocks it then.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    config = _load(options)
    from sockjs_bridge import daemon, log

    # One for all configurations of this process: what the one before knew stays secret after a reload.
    secrets = config.secrets
    log.configure(config.log.level, config.log.format, mask=secrets.mask)
    log.mask_uncaught(secrets.mask)
    try:
        return daemon.run(config, lambda: _load(options, secrets))
    except BindError as error:
        raise ConfigError(map(secrets.mask, _labelled(error.problems, options))) from error


def _labelled(problems: Sequence[tuple[str, str]], options: argparse.Namespace) -> list[str]:
    label = getattr(options, "config", "environment")
    return [f"{label}: {where}: {what}" for where, what in problems]


def _check(options: argparse.Namespace) -> int:
    config = _load(options)
    problems = _file_problems(config)
    if problems:
        raise ConfigError(map(config.secrets.mask, _labelled(problems, options)))
    for line in _described(config):
        print(config.secrets.mask(line))
    return EXIT_OK


def _described(config: "Config") -> "Iterator[str]":
    for name, session in config.sessions.items():
        yield f"session {name}: {session.shown_url} by {', '.join(session.transports)}"
        for listener in session.tcp:
            more = ", tls" if listener.tls.cert else ""
            more += ", dedicated" if listener.mode == "dedicated" else ""
            yield f"session {name}: tcp {listener.address}, {listener.framing}, {listener.direction}{more}"
        for endpoint in session.zmq:
            verb = "at" if endpoint.bind else "connects to"
            yield f"session {name}: zmq {endpoint.type} {verb} {endpoint.endpoint}, {endpoint.layout}"
        if not session.tcp and not session.zmq:
            yield f"session {name}: no listener; what the server sends goes nowhere"


def _file_problems(config: "Config") -> list[tuple[str, str]]:
    sessions = config.sessions.values()
    problems: list[tuple[str, str]] = []
    if any(listener.tls.cert for each in sessions for listener in each.tcp):
        from sockjs_bridge.local_certificates import certificate_problems

        problems += certificate_problems(config)
    if any(each.proxy or each.tls.ca or each.tls.cert for each in sessions):
        from sockjs_bridge.upstream_route import route_problems

        problems += route_problems(config)
    if any(endpoint.curve.secret_key_file for each in sessions for endpoint in each.zmq):
        from sockjs_bridge.local_zeromq import key_problems

        problems += key_problems(config)
    return problems


def _keygen(options: argparse.Namespace) -> int:
    from sockjs_bridge.endpoints.zeromq.curve import write_key_pair

    try:
        public_key = write_key_pair(options.file)
    except OSError as error:
        print(
            f"sockjs-bridge keygen: {options.file}: {(error.strerror or str(error)).lower()}", file=sys.stderr
        )
        return EXIT_USAGE
    print(public_key)
    print(
        f"The line above is the public key: for `allow` on a server, `server_key` on its clients. "
        f"The secret key is in {options.file}: for `secret_key_file`.",
        file=sys.stderr,
    )
    return EXIT_OK


def _schema(_options: argparse.Namespace) -> int:
    import json

    from sockjs_bridge.config.reference import json_schema

    print(json.dumps(json_schema(), indent=2))
    return EXIT_OK


def _completion(options: argparse.Namespace) -> int:
    from sockjs_bridge.completion import script

    print(script(options.shell, _parser()), end="")
    return EXIT_OK


def _demo(_options: argparse.Namespace) -> int:
    try:
        from sockjs_bridge import demo
    except ModuleNotFoundError as error:
        print(
            f"sockjs-bridge demo: {error.name} is not installed; the demo has its own packages: "
            "pip install 'sockjs-bridge[demo]'",
            file=sys.stderr,
        )
        return EXIT_USAGE
    return demo.run()


def _connect(options: argparse.Namespace) -> int:
    from sockjs_bridge import connect

    return connect.run(options)


def _probe(options: argparse.Namespace) -> int:
    from sockjs_bridge import probe

    return probe.run(options)
