"""What a Session reports, in the past tense, and what a Lifecycle is told and answers."""

from dataclasses import dataclass

from sockjs_bridge.errors import Cause, Obstacle
from sockjs_bridge.protocol.info import Info
from sockjs_bridge.protocol.urls import BaseUrl


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """The open frame came, or a raw WebSocket connected: messages may flow both ways."""


@dataclass(frozen=True, slots=True)
class MessagesReceived:
    """Messages from the server, in order. Their text may hold lone surrogates."""

    messages: list[str]


@dataclass(frozen=True, slots=True)
class HeartbeatReceived:
    """The server sends heartbeat frames: from now on its silence means something."""


@dataclass(frozen=True, slots=True)
class FrameDropped:
    """Frames in a row could not be understood, each for the same reason, and were left out; the session goes on."""

    problem: str
    size_bytes: int
    """Of all of them."""
    frames: int = 1


@dataclass(frozen=True, slots=True)
class SessionClosed:
    """The session has ended and will report nothing more.

    `code` and `reason` are those of the `c` frame where there was one, else those of the WebSocket:
    1005 where no code was given, 1006 where the connection dropped (protocol section 5).
    """

    cause: Cause
    code: int
    reason: str = ""


SessionEvent = SessionOpened | MessagesReceived | HeartbeatReceived | FrameDropped | SessionClosed


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """An attempt ended before its session was open. `status` is an HTTP status, where one came."""

    obstacle: Obstacle
    detail: str
    status: int | None = None


@dataclass(frozen=True, slots=True)
class DelayElapsed:
    """The time that a Wait command asked for has passed, or somebody cut it short."""


@dataclass(frozen=True, slots=True)
class InfoReceived:
    """`GET /info` was answered after `seconds`; `info` is None where the answer was of no use."""

    info: Info | None
    seconds: float


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """The login steps that go before the connect have succeeded."""


@dataclass(frozen=True, slots=True)
class LoginFailed:
    """A login step failed: before the connect, or on the open session, which has ended then.

    `detail` begins with the step; `status` is an HTTP status, where one came.
    """

    detail: str
    status: int | None = None
    ended_session: bool = False


LifecycleEvent = (
    AttemptFailed | SessionOpened | SessionClosed | DelayElapsed | InfoReceived | LoggedIn | LoginFailed
)


@dataclass(frozen=True, slots=True)
class LogIn:
    """Take the login steps that go before the connect, then report LoggedIn or LoginFailed."""

    origin: str | None


@dataclass(frozen=True, slots=True)
class AskInfo:
    """Ask the server about itself, then report InfoReceived, or AttemptFailed if it cannot be reached."""

    origin: str | None


@dataclass(frozen=True, slots=True)
class Connect:
    """Make one attempt: this transport, this session id (never used before), this Origin header.

    `base` is where the server wants its sessions, None for the configured place. The open frame gets at
    least `patience` seconds.
    """

    transport: str
    session_id: str
    origin: str | None
    base: BaseUrl | None = None
    patience: float = 0.0


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing for so many seconds, then report DelayElapsed."""

    delay: float


@dataclass(frozen=True, slots=True)
class CarryOn:
    """Nothing to do: the running attempt goes on."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """`max_attempts` rounds have failed: make no further attempt."""

    rounds: int


@dataclass(frozen=True, slots=True)
class Finish:
    """The only session there was to be has ended: make no further attempt."""


LifecycleCommand = LogIn | AskInfo | Connect | Wait | CarryOn | GiveUp | Finish
