"""The tables of the configuration. Names, types and defaults are a contract with the users."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator
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
from sockjs_bridge.config.units import (
    Count,
    Duration,
    PositiveCount,
    PositiveDuration,
    PositiveSize,
    Size,
    Switch,
)

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
    drain_timeout: Duration = 8.0


class LogConfig(Table):
    """What is logged, and how."""

    level: LogLevel = "info"
    format: LogFormat = "auto"


class AdminConfig(Table):
    """The admin listener; off while `listen` is empty."""

    listen: AdminListen = ""
    allowed_hosts: tuple[HostName, ...] = ()
    allow_remote: Switch = False
    token: Annotated[HeaderValue, Field(repr=False)] = ""


class TlsConfig(Table):
    """TLS to the server: paths of PEM files."""

    ca: str = ""
    cert: str = ""
    key: str = ""
    server_name: str = ""
    verify: Switch = True


class ReconnectConfig(Table):
    """When to try again. Durations are seconds; `max_attempts` 0 is for ever."""

    initial: PositiveDuration = 1.0
    max: PositiveDuration = 30.0
    stable_after: Duration = 30.0
    max_attempts: Count = 0


class QueueConfig(Table):
    """Messages on their way to the server. `max_age` is seconds, 0 is never too old."""

    max_messages: PositiveCount = 10_000
    max_bytes: PositiveSize = 8 << 20
    max_age: Duration = 0.0
    overflow: QueueOverflow = "pause"
    resend_in_doubt: Switch = False
    spool: str = ""
    spool_max_bytes: PositiveSize = 256 << 20


class SessionDefaults(Table):
    """Every key of a session but its URL. Durations are seconds, sizes bytes."""

    transports: Transports = ("websocket", "xhr-streaming", "xhr-polling")
    info: Switch = True
    headers: Headers = Field(default_factory=dict, repr=False)
    origin: Origin = "none"
    cookies: Cookies = Field(default_factory=dict, repr=False)
    cookie_file: str = ""
    server_id: ServerId = ""
    proxy: Annotated[Proxy, Field(repr=False)] = ""
    connect_timeout: PositiveDuration = 10.0
    open_timeout: PositiveDuration = 10.0
    silence_timeout: Duration = 60.0
    ping_interval: Duration = 20.0
    max_frame_size: PositiveSize = 16 << 20
    batch_bytes: Size = 8000
    eventsource_encoding: EventsourceEncoding = "auto"
    tls: TlsConfig = TlsConfig()
    reconnect: ReconnectConfig = ReconnectConfig()
    queue: QueueConfig = QueueConfig()
    on_connect: tuple[Step, ...] = ()
    relogin_on: tuple[Relogin, ...] = ()
    keepalive: tuple[Keepalive, ...] = ()
    tcp: tuple[TcpListener, ...] = ()
    zmq: tuple[ZmqEndpoint, ...] = ()


class SessionConfig(SessionDefaults):
    """One upstream session and its local listeners. `url` is as the user wrote it: it may hold secrets."""

    url: Annotated[Url, Field(repr=False)]

    @model_validator(mode="before")
    @classmethod
    def _raw_websocket(cls, data: Any) -> Any:
        if isinstance(data, dict) and "transports" not in data and is_raw_url(data.get("url")):
            return {**data, "transports": ["websocket-raw"]}
        return data


class Config(BaseSettings):
    """The whole configuration; `defaults` are merged into each of the `sessions` already."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    bridge: BridgeConfig = BridgeConfig()
    log: LogConfig = LogConfig()
    admin: AdminConfig = AdminConfig()
    defaults: SessionDefaults = SessionDefaults()
    sessions: dict[SessionName, SessionConfig] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _inherit(cls, data: Any) -> Any:
        return inherit(data) if isinstance(data, dict) else data

    # pydantic-settings calls this by keyword, so the names of what is not used have to stay.
    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Nothing is read behind the caller's back: `load` brings the sources that count."""
        return (init_settings,)
