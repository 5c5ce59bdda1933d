"""The configuration of the daemon: read, checked, immutable."""

from sockjs_bridge.config.listeners import Curve, ListenerTls, TcpListener, ZmqEndpoint
from sockjs_bridge.config.load import load
from sockjs_bridge.config.models import (
    AdminConfig,
    BridgeConfig,
    Config,
    LogConfig,
    QueueConfig,
    ReconnectConfig,
    SessionConfig,
    SessionDefaults,
    TlsConfig,
)
from sockjs_bridge.config.steps import HttpRequest, Keepalive, Relogin, Step

__all__ = [
    "AdminConfig",
    "BridgeConfig",
    "Config",
    "Curve",
    "HttpRequest",
    "Keepalive",
    "ListenerTls",
    "LogConfig",
    "QueueConfig",
    "ReconnectConfig",
    "Relogin",
    "SessionConfig",
    "SessionDefaults",
    "Step",
    "TcpListener",
    "TlsConfig",
    "ZmqEndpoint",
    "load",
]
