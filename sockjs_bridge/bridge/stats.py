"""Plain integers that count what one session does. Read only when somebody asks."""

from collections import Counter
from dataclasses import dataclass, field

from sockjs_bridge.errors import Cause, DropReason


@dataclass(slots=True)
class SessionStats:
    """Counts since the process started. Bytes are UTF-8 bytes of messages, without framing."""

    messages_received: int = 0
    last_receive_at: float | None = None
    """When bytes last came from the server, in seconds of the loop's clock."""
    bytes_received: int = 0
    messages_accepted: int = 0
    """Messages from local programs that the bridge took."""
    messages_in_flight: int = 0
    """Messages in a request that the server has not answered yet: as good as queued."""
    resends_in_flight: int = 0
    """Those of `messages_in_flight` that were written before."""
    messages_sent: int = 0
    """Messages written to the server's connection; over HTTP, those that it took or that are in doubt."""
    messages_in_doubt: int = 0
    """Those of `messages_sent` of which nobody knew, when their connection had ended, whether they arrived."""
    messages_confirmed: int = 0
    """Messages that the server's side of the connection has certainly read."""
    messages_resent: int = 0
    """How often a message was written once more, because it was in doubt. Not a part of `messages_sent`."""
    bytes_sent: int = 0
    own_messages: int = 0
    """Messages that the bridge sent by itself, which are in no other count: login steps and keepalive."""
    frames_dropped: int = 0
    text_replaced: int = 0
    """Messages in which something was replaced by U+FFFD on the server's side."""
    dropped: Counter[DropReason] = field(default_factory=Counter)
    """Messages that went nowhere: of either direction, accepted or not."""
    queue_dropped: Counter[DropReason] = field(default_factory=Counter)
    """Those of `dropped` that were accepted from programs and then given up."""
    connects: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(transport, "opened" or an Obstacle) of each attempt."""
    closes: Counter[Cause] = field(default_factory=Counter)
