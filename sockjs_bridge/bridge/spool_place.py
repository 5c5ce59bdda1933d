"""The place of a spool's file: whether there can be one, its mode, and where a damaged one goes.

All by names: to close a descriptor of the file would end the lock that this process has on it.
"""

import errno
import os
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from sockjs_bridge.errors import SpoolError

_TEMPORARY_ERRNOS: Final = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM}


def check_place(path: Path) -> None:
    """Raise SpoolError where there can be no file and no retry mends that."""
    if not path.parent.is_dir():
        raise SpoolError(f"{path}: the folder {path.parent} does not exist", is_temporary=False)
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise SpoolError(f"{path}: no permission to write in {path.parent}", is_temporary=False)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise _os_error(path, error) from error
    if not stat.S_ISREG(mode):
        raise SpoolError(f"{path} is not a regular file", is_temporary=False)
    if not os.access(path, os.R_OK | os.W_OK):
        raise SpoolError(f"{path}: no permission to read and write it", is_temporary=False)


def create_file(path: Path) -> None:
    """Make an empty file for its owner only, if there is none."""
    try:
        # SQLite gives its log the mode of the file.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise _os_error(path, error) from error


def set_aside(path: Path) -> Path:
    """Move a damaged file and its log away; returns where to."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    moved_to = path.with_name(f"{path.name}.corrupt-{stamp}")
    more = 1
    while moved_to.exists():
        more += 1
        moved_to = path.with_name(f"{path.name}.corrupt-{stamp}-{more}")
    try:
        # The file comes last: without it, its log would be taken for that of the new one.
        for suffix in ("-wal", "-journal", ""):
            with suppress(FileNotFoundError):
                Path(f"{path}{suffix}").rename(f"{moved_to}{suffix}")
    except OSError as error:
        raise SpoolError(
            f"{path} is damaged and could not be moved: {error.strerror}", is_temporary=False
        ) from error
    return moved_to


def _os_error(path: Path, error: OSError) -> SpoolError:
    return SpoolError(f"{path}: {error.strerror}", is_temporary=error.errno in _TEMPORARY_ERRNOS)
