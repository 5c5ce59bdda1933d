"""The tables of the configuration. Names, types and defaults are a contract with the users.

The strings below the keys are what users read about them, see table.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PrivateAttr, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from sockjs_bridge.config.fields import (
    AdminListen,
    Cookies,
    Headers,
    HeaderValue,
    HostName,
    Origin,
    Proxy,
    ServerId,
    SessionName,
    Url,
    is_raw_url,
)
from sockjs_bridge.config.inheritance import inherit
from sockjs_bridge.config.listeners import TcpListener, ZmqEndpoint
from sockjs_bridge.config.steps import Keepalive, Relogin, Step
from sockjs_bridge.config.table import Table
from sockjs_bridge.config.tree import Tree
from sockjs_bridge.config.units import (
    Count,
    Duration,
    PositiveCount,
    PositiveDuration,
    PositiveSize,
    Size,
    Switch,
)
from sockjs_bridge.protocol.templates import shown_url
from sockjs_bridge.protocol.urls import BaseUrl
from sockjs_bridge.secret_store import SecretStore

Startup = Literal["retry", "fail"]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "text", "json"]
TransportName = Literal[
    "websocket", "xhr-streaming", "xhr-polling", "websocket-raw", "eventsource", "htmlfile", "jsonp-polling"
]
EventsourceEncoding = Literal["auto", "percent", "none"]
QueueOverflow = Literal["pause", "reject", "drop-oldest"]


def _order_to_try(transports: tuple[TransportName, ...]) -> tuple[TransportName, ...]:
    if not transports:
        raise ValueError("must name at least one transport")
    twice = next((name for name in transports if transports.count(name) > 1), None)
    if twice:
        raise ValueError(f'names "{twice}" more than once')
    return transports


Transports = Annotated[tuple[TransportName, ...], AfterValidator(_order_to_try)]


class BridgeConfig(Table):
    """The process. Durations are seconds."""

    startup: Startup = "retry"
    """`"fail"`: a session that does not open in its first round ends the process with 69"""
    drain_timeout: Duration = 8.0
    """everything that a stop does fits in it"""


class LogConfig(Table):
    """What is logged, and how."""

    level: LogLevel = "info"
    """`debug`, `info`, `warning`, `error`"""
    format: LogFormat = "auto"
    """`text` on a terminal and JSON lines elsewhere; or `text`, `json`"""


class AdminConfig(Table):
    """The admin listener; off while `listen` is empty."""

    listen: AdminListen = ""
    """`"127.0.0.1:9180"` or `"unix:/run/sockjs-bridge/admin.sock"`; empty: off"""
    allowed_hosts: tuple[HostName, ...] = ()
    """names that a Host header may have, beside localhost and IP addresses"""
    allow_remote: Switch = False
    """an address that is not loopback refuses to start without this and a `token`"""
    token: Annotated[HeaderValue, Field(repr=False)] = ""
    """what a POST must carry, as `Authorization: Bearer`; an address that is not loopback needs one"""


class TlsConfig(Table):
    """TLS to the server: paths of PEM files, which are read again when they have changed."""

    ca: str = ""
    """a PEM file with the authorities to trust, in place of the system's; empty: the system's"""
    cert: str = ""
    """a PEM file with a certificate of our own, for a server that asks for one"""
    key: str = ""
    """a PEM file with the private key of `cert`, not encrypted; empty: it is in `cert`"""
    server_name: str = ""
    """the name to ask for, which the server's certificate must have; empty: the host of the `url`"""
    verify: Switch = True
    """`false`: any certificate is taken, with a warning at every connect"""


class ReconnectConfig(Table):
    """When to try again. Durations are seconds; `max_attempts` 0 is for ever."""

    initial: PositiveDuration = 1.0
    """delays are drawn between this and `max` (decorrelated jitter), short in an outage's first 10 s"""
    max: PositiveDuration = 30.0
    """the longest delay"""
    stable_after: Duration = 30.0
    """open for so long, and the delays start over"""
    max_attempts: Count = 0
    """rounds before the session is given up; 0: for ever"""


class QueueConfig(Table):
    """Messages on their way to the server. `max_age` is seconds, 0 is never too old."""

    max_messages: PositiveCount = 10_000
    """what may wait for the server; with `resend_in_doubt`, together with what is not confirmed"""
    max_bytes: PositiveSize = 8 << 20
    """the same in bytes: what is reached first counts"""
    max_age: Duration = 0.0
    """a message that has waited for so long is given up, counted as `expired`; 0: never too old"""
    overflow: QueueOverflow = "pause"
    """when the queue is full: `pause` (writers are not read), `reject` (what is new is refused), `drop-oldest`"""
    resend_in_doubt: Switch = False
    """what may or may not have arrived when a connection broke is sent again, first and in order: at least once,
    and some of it twice"""
    spool: str = ""
    """a file, SQLite, where messages wait over restarts too; empty: memory only"""
    spool_max_bytes: PositiveSize = 256 << 20
    """how much may wait there"""


class SessionDefaults(Table):
    """Every key of a session but its URL. Durations are seconds, sizes bytes."""

    transports: Transports = ("websocket", "xhr-streaming", "xhr-polling")
    """tried in this order, each with a fresh session id; also `websocket-raw`, `eventsource`, `htmlfile`,
    `jsonp-polling`. What opened last is tried first"""
    info: Switch = True
    """ask `GET <url>/info` before each round: a server without WebSocket is then not asked for it. No answer is
    needed"""
    headers: Headers = Field(default_factory=dict, repr=False)
    """sent with every request and the handshake"""
    origin: Origin = "none"
    """the Origin header: `none`, `same` or a URL. Without one, a 403 is tried once more with `same`"""
    cookies: Cookies = Field(default_factory=dict, repr=False)
    """in the jar at start, with path `/`; what the server sets is kept over reconnects"""
    cookie_file: str = ""
    """keeps the jar over restarts, with mode 0600; what it holds goes before `cookies`"""
    server_id: ServerId = ""
    """three digits; empty: random once"""
    proxy: Annotated[Proxy, Field(repr=False)] = ""
    """`"env"`: what `HTTP_PROXY` and its like say; or `"http://host:port"`, `"socks5://host:port"`, with
    `user:password@` before the host; empty: none"""
    connect_timeout: PositiveDuration = 10.0
    """DNS, TCP, TLS, the handshake; also the answers to `/info` and to what is sent over HTTP"""
    open_timeout: PositiveDuration = 10.0
    """until the open frame, then the next transport is tried; four round trips of `/info` where that is
    longer"""
    silence_timeout: Duration = 60.0
    """nothing for so long, on a connection that had shown heartbeats or answered PINGs: dead. An HTTP session
    that never showed any is asked by `GET /info` then. 0: off"""
    ping_interval: Duration = 20.0
    """our own PING on a WebSocket; one unanswered for so long, where others were answered: dead; 0: off"""
    max_frame_size: PositiveSize = 16 << 20
    """the largest frame of the server, over HTTP too; of a WebSocket, the largest message"""
    batch_bytes: Size = 8000
    """messages that wait together share a WebSocket frame up to this; 0: one message a frame. A request over
    HTTP takes up to 512 KiB"""
    eventsource_encoding: EventsourceEncoding = "auto"
    """whether the server writes `%` as `%25` there: `percent` (sockjs-node, sockjs-go, Erlang), `none` (the
    others), or a guess"""
    tls: TlsConfig = TlsConfig()
    """TLS to the server"""
    reconnect: ReconnectConfig = ReconnectConfig()
    """when to try again"""
    queue: QueueConfig = QueueConfig()
    """messages on their way to the server"""
    on_connect: tuple[Step, ...] = ()
    """steps in order, at every connect; the session counts as ready after the last"""
    relogin_on: tuple[Relogin, ...] = ()
    """messages of the server that run the steps again; local clients stay"""
    keepalive: tuple[Keepalive, ...] = ()
    """messages sent again and again while the session is ready"""
    tcp: tuple[TcpListener, ...] = ()
    """stream sockets for local programs"""
    zmq: tuple[ZmqEndpoint, ...] = ()
    """ZeroMQ sockets for local programs"""


@dataclass(frozen=True, slots=True)
class WrittenSecrets:
    """What of a session is read anew at each login, as it is written, and where secrets are read."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    cookies: Mapping[str, str] = field(repr=False)
    secrets: SecretStore


class SessionConfig(SessionDefaults):
    """One upstream session and its local listeners. `url`, `headers` and `cookies` may hold secrets."""

    url: Annotated[Url, Field(repr=False, examples=["http://localhost:8081/echo"])]
    """the base URL of the endpoint; user and password in it become Basic authorization"""

    _as_written: WrittenSecrets | None = PrivateAttr(default=None)

    @property
    def as_written(self) -> WrittenSecrets:
        """The URL, the headers and the cookies with `${...}` in them, which a login reads anew."""
        return self._as_written or WrittenSecrets(self.url, self.headers, self.cookies, SecretStore({}))

    @property
    def shown_url(self) -> str:
        """The URL as logs and errors may show it: without user info, query, and anything secret."""
        written = self.as_written.url
        return shown_url(written) if "${" in written else BaseUrl.parse(self.url).shown

    def with_references(self, written: Tree, secrets: SecretStore) -> "SessionConfig":
        """The same, which knows what was written where it has values that were read."""
        copy = self.model_copy()
        copy._as_written = WrittenSecrets(  # noqa: SLF001  # a new object of this class
            written["url"], written.get("headers", {}), written.get("cookies", {}), secrets
        )
        return copy

    @model_validator(mode="before")
    @classmethod
    def _raw_websocket(cls, data: Any) -> Any:
        if isinstance(data, dict) and "transports" not in data and is_raw_url(data.get("url")):
            return {**data, "transports": ["websocket-raw"]}
        return data

    @property
    def has_dedicated(self) -> bool:
        """Whether there are clients that have a session each."""
        return any(listener.mode == "dedicated" for listener in self.tcp)

    @property
    def is_on_demand(self) -> bool:
        """Whether all clients have a session each, so that there is none to be shared."""
        return self.has_dedicated and not self.zmq and all(each.mode == "dedicated" for each in self.tcp)


class Config(BaseSettings):
    """The whole configuration; `defaults` are merged into each of the `sessions` already."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    bridge: BridgeConfig = BridgeConfig()
    """the process"""
    log: LogConfig = LogConfig()
    """what is logged, and how"""
    admin: AdminConfig = AdminConfig()
    """the admin listener"""
    defaults: SessionDefaults = SessionDefaults()
    """every key of a session but `url`; sessions inherit it table by table"""
    sessions: dict[SessionName, SessionConfig] = Field(default_factory=dict)
    """the sessions by their names, which are of `a-z`, `0-9`, `-` and single `_`"""

    _secrets: SecretStore | None = PrivateAttr(default=None)

    @property
    def secrets(self) -> SecretStore:
        """What must not be shown."""
        return self._secrets or SecretStore({})

    def with_references(self, written: Tree, secrets: SecretStore) -> "Config":
        """The same, which knows what was written where it has values that were read.

        `written` is the tree before secrets were read, without inheritance.
        """
        sessions = inherit(written)["sessions"]
        copy = self.model_copy(
            update={
                "sessions": {
                    name: each.with_references(sessions[name], secrets)
                    for name, each in self.sessions.items()
                }
            }
        )
        copy._secrets = secrets  # noqa: SLF001  # a new object of this class
        return copy

    @model_validator(mode="before")
    @classmethod
    def _inherit(cls, data: Any) -> Any:
        return inherit(data) if isinstance(data, dict) else data

    # pydantic-settings calls this by keyword, so the names of what is not used have to stay.
    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  # passed by name
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # passed by name
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # passed by name
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # passed by name
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Nothing is read behind the caller's back: `load` brings the sources that count."""
        return (init_settings,)
