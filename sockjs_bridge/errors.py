"""The exceptions of this package, and the enums that say why something ended.

BridgeError
|-- ConfigError           the configuration is wrong; holds every problem found
|-- BindError             local listeners could not be bound, or files not be used; holds every problem found
|-- ProtocolError         the peer broke the protocol (never raised for our own bugs)
|   `-- FrameError        one frame from the server could not be understood
|-- FramingError          a local stream can no longer be cut into messages
|-- SecretError           a secret that the configuration refers to can not be read
|-- LoginError            a login step failed, or what it needs is missing
|-- SpoolError            the file that keeps messages over a restart can not be opened, written or read
`-- ConnectError          an attempt to reach the server failed before the session was open
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum


class Cause(StrEnum):
    """Why an upstream session ended. The value is the log field and the metric label."""

    SERVER_CLOSED = "server_closed"
    SESSION_BUSY = "session_busy"
    INTERRUPTED = "interrupted"
    SESSION_LOST = "session_lost"
    OPEN_TIMEOUT = "open_timeout"
    SILENCE = "silence"
    TRANSPORT_LOST = "transport_lost"
    PROTOCOL_VIOLATION = "protocol_violation"
    SEND_REJECTED = "send_rejected"
    LOGIN_FAILED = "login_failed"
    RELOAD = "reload"
    STOPPING = "stopping"


class DropReason(StrEnum):
    """Why a message went nowhere. The value is the log field and the metric label."""

    NO_CONSUMER = "no_consumer"
    SLOW_CLIENT = "slow_client"
    CLIENT_GONE = "client_gone"
    QUEUE_FULL = "queue_full"
    EXPIRED = "expired"
    OVERSIZE = "oversize"
    REFUSED = "refused"
    INVALID = "invalid"
    STOPPED = "stopped"
    UNDELIVERABLE = "undeliverable"


class Obstacle(StrEnum):
    """What stood in the way of an attempt to connect. Label `result` of the connects metric."""

    UNREACHABLE = "unreachable"
    """DNS failure, connection refused, no route, no answer to TCP: no transport can do better."""
    TLS = "tls_error"
    STATUS = "http_status"
    """The server answered the handshake with another HTTP status than 101."""
    HANDSHAKE = "bad_handshake"
    """The answer was not a WebSocket handshake, or none came."""
    NOT_OPENED = "not_opened"
    """The transport connected, but no open frame came in time."""
    LOGIN = "login_failed"
    """A login step before the connect failed, or a secret could not be read."""
    LOST = "lost"
    """The connection broke, or the server ended the session, before the open frame."""


class BridgeError(Exception):
    """Base of every exception that this package raises on purpose."""


class ConfigError(BridgeError):
    """The configuration can not be used. Exit code 78.

    `problems` are lines ready for the user: file or variable, key path, what is wrong, what was meant.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class BindError(BridgeError):
    """Local listeners could not be bound, or files not be used. Exit code 78. `problems` are (key path, what is wrong)."""

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        super().__init__("\n".join(f"{where}: {what}" for where, what in problems))
        self.problems = tuple(problems)


class ProtocolError(BridgeError):
    """The server broke the rules of SockJS or WebSocket."""


class FrameError(ProtocolError):
    """One frame from the server could not be understood; the session may go on without it."""


class FramingError(BridgeError):
    """A local stream lost its message boundaries: nothing after this point can be trusted."""


class SecretError(BridgeError):
    """A secret can not be read. The text reads on after its reference, and repeats nothing of it."""


class LoginError(BridgeError):
    """A login did not succeed. The text begins with the step that failed; it holds no value.

    `status` is the HTTP status of the answer, where there was one.
    """

    def __init__(self, detail: str, *, status: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status


class SpoolError(BridgeError):
    """The file of a spool can not be opened, written or read; nothing was changed.

    `is_temporary` where trying again may help without anybody's doing at the bridge: a full or failing disk,
    another process that has the file open.
    """

    def __init__(self, problem: str, *, is_temporary: bool) -> None:
        super().__init__(problem)
        self.is_temporary = is_temporary


class ConnectError(BridgeError):
    """The server could not be reached by one transport.

    `status` is the HTTP status of the answer, where there was one.
    """

    def __init__(self, obstacle: Obstacle, detail: str, *, status: int | None = None) -> None:
        super().__init__(detail)
        self.obstacle = obstacle
        self.detail = detail
        self.status = status

    def to_keep(self) -> "ConnectError":
        """The same without its traceback: that holds every frame on the way, and what they have read."""
        return ConnectError(self.obstacle, self.detail, status=self.status)
