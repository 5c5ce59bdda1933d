"""From the configuration to the ways to servers: TLS and proxies. `check` asks here whether they can be used."""

from sockjs_bridge.config import Config, SessionConfig
from sockjs_bridge.errors import ConnectError
from sockjs_bridge.protocol.urls import BaseUrl
from sockjs_bridge.transports.proxy import choose_proxy
from sockjs_bridge.transports.route import Route
from sockjs_bridge.transports.tls import Tls, TlsFilesError, TlsOptions, make_context


def make_route(config: SessionConfig) -> Route:
    """Make the way to the server of a session. Nothing is read yet."""
    return Route(Tls(_tls_options(config), BaseUrl.parse(config.url).host), config.proxy)


def route_problems(config: Config) -> list[tuple[str, str]]:
    """Every file of TLS and every proxy that cannot be used, as (key path, what is wrong)."""
    problems: list[tuple[str, str]] = []
    for name, session in config.sessions.items():
        problems += [(f"sessions.{name}.{key}", what) for key, what in session_problems(session)]
    return problems


def session_problems(session: SessionConfig) -> list[tuple[str, str]]:
    """The same of one session: (key, what is wrong)."""
    problems: list[tuple[str, str]] = []
    options = _tls_options(session)
    if options.ca or options.cert or options.key:
        try:
            make_context(options)
        except TlsFilesError as error:
            problems += [(f"tls.{option}", what) for option, what in error.problems]
    try:
        choose_proxy(session.proxy, BaseUrl.parse(session.url).url)
    except ConnectError as error:
        problems.append(("proxy", error.detail))
    return problems


def _tls_options(config: SessionConfig) -> TlsOptions:
    tls = config.tls
    return TlsOptions(ca=tls.ca, cert=tls.cert, key=tls.key, server_name=tls.server_name, verify=tls.verify)
