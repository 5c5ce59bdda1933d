"""What a process that was killed has left in its spool, read from a copy."""

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from sockjs_bridge.bridge.spool_file import SpoolFile

_EVERYTHING = 1 << 40


def left_in(spool: Path) -> tuple[list[str], list[str]]:
    """The messages that are in doubt, and those that are queued. The file itself is not touched."""
    if not spool.exists():
        return [], []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / spool.name
        for suffix in ("", "-wal"):
            with suppress(FileNotFoundError):
                shutil.copyfile(f"{spool}{suffix}", f"{copy}{suffix}")
        file = SpoolFile.open(copy)
        try:
            assert file.recovered.set_aside is None, file.recovered.problem
            sending = file.recovered.marks.sending
            found = [
                (number, text)
                for chunk in file.read(0, _EVERYTHING)
                for number, text in enumerate(chunk.messages, chunk.first)
            ]
        finally:
            file.close()
    in_doubt = [text for number, text in found if number <= sending]
    return in_doubt, [text for number, text in found if number > sending]
