"""What messages count for against `queue.spool_max_bytes`."""

from sockjs_bridge.bridge.batch import Burst, utf8_bytes

_BYTES_BESIDE_A_MESSAGE = 48
"""As much as it takes on disk, at most, when each message has a row of its own."""


def room_for(messages: int, size_bytes: int) -> int:
    """How many bytes messages take: counted by message, so that it adds up however they are cut."""
    return size_bytes + messages * _BYTES_BESIDE_A_MESSAGE


def enough_of(burst: Burst, excess: int) -> int:
    """How many of the first messages of a burst have to go to free so many bytes; all of them where it has less."""
    for count, message in enumerate(burst.messages, 1):
        excess -= room_for(1, utf8_bytes([message]))
        if excess <= 0:
            return count
    return len(burst.messages)
