"""When something happened, by the log of the bridge: a test that looks for it would find it later."""

import time
from datetime import datetime

from tests.bridge_process import BridgeProcess, LogLine, wait_until


def moment(line: LogLine) -> float:
    """When a log line was written, in seconds of the wall clock."""
    return datetime.fromisoformat(line["time"]).timestamp()


def first_after(
    bridge: BridgeProcess, since: float, beginning: str, timeout: float, **fields: object
) -> LogLine:
    """Wait for the first log line of this kind at or after `since`, by the wall clock, in milliseconds."""
    since = int(since * 1000) / 1000

    def found() -> list[LogLine]:
        return [line for line in bridge.log_lines(beginning, **fields) if moment(line) >= since]

    wait_until(lambda: bool(found()), f"{beginning!r} with {fields} after {since}", timeout)
    return found()[0]


def now() -> float:
    """Now, by the wall clock of the log."""
    return time.time()
