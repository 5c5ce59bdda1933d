"""The file of a spool: what was accepted and is not finished with yet, in SQLite (delivery.md).

Everything here blocks. One thread at a time may use a file, any thread.

A row of `chunks` holds a whole burst: a row for each message would mean a step of SQLite for each, and at every
step the sqlite3 module gives the interpreter away, which is slow to come back beside a busy event loop. For the
same reason several rows go into one statement.
"""

import os
import sqlite3
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from sockjs_bridge.bridge.chunks import EVERY_MESSAGE, Chunk, Gaps, Marks, Recovered, Work, stored_bytes
from sockjs_bridge.bridge.spool_place import check_place, create_file, set_aside
from sockjs_bridge.bridge.spool_rows import DamagedError, checksum_of, decode_row, encode_row
from sockjs_bridge.errors import SpoolError

__all__ = ["Chunk", "Marks", "Recovered", "SpoolFile", "Work"]

_APPLICATION_ID: Final = 0x534A4253
_VERSION: Final = 1
_PLAUSIBLE_VERSIONS: Final = range(1, 1000)
"""A number beyond is not the version of a newer bridge but damage."""

_TABLES: Final = {
    b"chunks": (
        b"CREATE TABLE chunks (first INTEGER PRIMARY KEY, count INTEGER NOT NULL, size_bytes INTEGER NOT NULL, "
        b"accepted_at REAL NOT NULL, checksum INTEGER NOT NULL, body BLOB NOT NULL)"
    ),
    b"gaps": b"CREATE TABLE gaps (first INTEGER PRIMARY KEY, last INTEGER NOT NULL, checksum INTEGER NOT NULL)",
    b"marks": (
        b"CREATE TABLE marks (id INTEGER PRIMARY KEY CHECK (id = 1), done INTEGER NOT NULL, "
        b"sending INTEGER NOT NULL, last INTEGER NOT NULL, gaps INTEGER NOT NULL, checksum INTEGER NOT NULL)"
    ),
}

_SMALLEST_BYTES: Final = 512
"""SQLite takes a file that is shorter for an empty one."""
_WAL_PAGES: Final = 4000
"""16 MiB: the log is written into the file when it has grown to this."""
_WAL_BYTES: Final = 32 << 20
"""A log that one large commit has made longer is cut back to this."""
_SPARE_BYTES: Final = 16 << 20
"""A file with more free space than this, and than what it holds, is made smaller when it is opened."""
_INSERTS: Final = {
    rows: "INSERT INTO chunks VALUES " + ", ".join(["(?, ?, ?, ?, ?, ?)"] * rows)  # noqa: S608 - only marks
    for rows in (16, 4, 1)
}

_BASE_CODE: Final = 0xFF
_TEMPORARY: Final = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,  # after what `check_place` looks at: no descriptors left, or no inodes
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
}
_NOT_THE_CONTENTS: Final = {
    *_TEMPORARY,
    sqlite3.SQLITE_AUTH,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_PROTOCOL,
}


class SpoolFile:
    """One open file. Only one process has it open at a time.

    `used_bytes` counts what `spool_max_bytes` bounds: all chunks that are not deleted yet. The file itself is
    somewhat larger, and stays as large as it was; beside it lies a log of some 16 MiB.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        """For `open` only."""
        self._connection = connection
        self._path = path
        self._marks = Marks()
        self._last = 0
        self._gaps = Gaps()
        self.used_bytes = 0
        self.recovered = Recovered()

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "SpoolFile":
        """Open the file, or make it, of mode 0600. What it held is in `recovered`.

        A damaged one is moved to `<name>.corrupt-<UTC time>`, with its log, and a new one takes its place.
        Raises SpoolError where there can be no file, where another process or a newer version of the bridge
        has it, and, as temporary, where the disk is full or fails.
        """
        real = Path(os.path.realpath(path))
        check_place(real)
        try:
            return cls._open_sound(real, Recovered())
        except DamagedError as damage:
            moved_to, problem = set_aside(real), str(damage)
        try:
            return cls._open_sound(real, Recovered(set_aside=moved_to, problem=problem))
        except DamagedError as damage:
            raise SpoolError(
                f"{real}: a new file is damaged at once: {damage}", is_temporary=False
            ) from damage

    @classmethod
    def _open_sound(cls, path: Path, fresh: Recovered) -> "SpoolFile":
        create_file(path)
        if 0 < path.stat().st_size < _SMALLEST_BYTES:
            raise DamagedError("it is too short")
        connection = None
        try:
            with _opening(path):
                connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
                # A damaged name or text need not be UTF-8.
                connection.text_factory = bytes
                # Before anything is read: no other process gets in between, and no -shm file is needed.
                connection.execute("PRAGMA locking_mode = EXCLUSIVE")
                file = cls(connection, path)
                file.recovered = fresh
                file._begin()
        except BaseException:  # whatever it was: an open file would keep its lock
            if connection is not None:
                connection.close()
            raise
        return file

    # --- opening ----------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        is_new = self._is_new()
        connection = self._connection
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
        if is_new:
            self._create_tables()
        else:
            self._recover()
            self._shrink()

    def _is_new(self) -> bool:
        application_id = self._number("PRAGMA application_id")
        version = self._number("PRAGMA user_version")
        tables = dict(self._connection.execute("SELECT name, sql FROM sqlite_schema"))
        result = self._connection.execute("PRAGMA quick_check(1)").fetchone()
        if result != (b"ok",):
            raise DamagedError(_text(result))
        if (application_id, version, tables) == (0, 0, {}):
            return True
        if application_id != _APPLICATION_ID and not tables.keys() & _TABLES.keys():
            raise SpoolError(f"{self._path} is the database of another program", is_temporary=False)
        if application_id == _APPLICATION_ID and version in _PLAUSIBLE_VERSIONS and version > _VERSION:
            raise SpoolError(
                f"{self._path} was written by a newer version of the bridge (format {version}, this one knows"
                f" {_VERSION})",
                is_temporary=False,
            )
        if (application_id, version, tables) != (_APPLICATION_ID, _VERSION, _TABLES):
            raise DamagedError("its tables are not those of a spool")
        return False

    def _number(self, query: str) -> int:
        (number,) = self._connection.execute(query).fetchone()
        if not isinstance(number, int):
            raise DamagedError(f"no answer to {query}")
        return number

    def _create_tables(self) -> None:
        with self._transaction():
            for sql in _TABLES.values():
                self._connection.execute(sql.decode())
            self._connection.execute(
                "INSERT INTO marks VALUES (1, 0, 0, 0, 0, ?)", (checksum_of(b"", 0, 0, 0, 0),)
            )
            self._connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            self._connection.execute(f"PRAGMA user_version = {_VERSION}")

    def _recover(self) -> None:
        with self._transaction():
            pass  # a damaged header can make it read-only, which shows here
        self._recover_marks()
        done, sending = self._marks.done, self._marks.sending
        queued = queued_bytes = in_doubt = in_doubt_bytes = 0
        following = done + 1
        with closing(self._chunks_from(0)) as chunks:
            for chunk in chunks:
                if chunk.last <= done or (following > done + 1 and chunk.first < following):
                    raise DamagedError("chunks overlap, or are there still though they are done")
                if self._gaps.outside(following, chunk.first - 1):
                    raise DamagedError(f"messages are missing before number {chunk.first}")
                following = chunk.last + 1
                self.used_bytes += chunk.stored_bytes
                for piece in self._open_parts(chunk, sending):
                    queued += len(piece.messages)
                    queued_bytes += piece.size_bytes
                for piece in self._open_parts(chunk, done, sending):
                    in_doubt += len(piece.messages)
                    in_doubt_bytes += piece.size_bytes
        if following > self._last + 1 or self._gaps.outside(following, self._last):
            raise DamagedError(f"the messages up to number {self._last} are not all there")
        self.recovered = Recovered(
            self._marks, tuple(self._gaps), self._last, queued, queued_bytes, in_doubt, in_doubt_bytes
        )

    def _recover_marks(self) -> None:
        rows = self._connection.execute("SELECT done, sending, last, gaps, checksum FROM marks").fetchall()
        if len(rows) != 1:
            raise DamagedError("it has no marks")
        *numbers, checksum = rows[0]
        if checksum_of(b"", *numbers) != checksum:
            raise DamagedError("its marks are not as they were written")
        done, sending, last, gaps = numbers
        if not 0 <= done <= sending <= last:
            raise DamagedError("its marks make no sense")
        self._marks, self._last = Marks(done, sending), last
        for first, gap_last, checksum in self._connection.execute("SELECT first, last, checksum FROM gaps"):
            if checksum_of(b"", first, gap_last) != checksum or not first <= gap_last <= last:
                raise DamagedError("a gap is not as it was written")
            self._gaps.add(first, gap_last)
        if len(self._gaps) != gaps:
            raise DamagedError("gaps are missing")

    def _shrink(self) -> None:
        free = self._number("PRAGMA freelist_count") * self._number("PRAGMA page_size")
        if free > max(_SPARE_BYTES, self.used_bytes):
            # It may lack the room for the copy; then the file stays large.
            with suppress(sqlite3.OperationalError):
                self._connection.execute("VACUUM")

    # --- writing ----------------------------------------------------------------------------------------------

    def commit(self, work: Work) -> None:
        """Make `work` durable, and delete what is done or given up.

        Raises SpoolError, and then keeps nothing of it: the same work can be committed again.
        """
        done, sending, last = work.marks.done, work.marks.sending, work.last
        if not self._marks.done <= done <= sending <= last >= self._last:
            raise ValueError(
                f"marks that make no sense: {work.marks}, {last} after {self._marks}, {self._last}"
            )
        gaps = self._gaps.copy()
        used_bytes = self.used_bytes + sum(chunk.stored_bytes for chunk in work.chunks)
        with self._reported(), self._transaction():
            self._insert(work.chunks)
            for gap in work.gaps:
                used_bytes -= self._give_up(gaps, *gap)
            if done > self._marks.done:
                used_bytes -= self._delete(0, done)
                if gaps.forget(done):
                    self._connection.execute("DELETE FROM gaps WHERE last <= ?", (done,))
            numbers = (done, sending, last, len(gaps))
            self._connection.execute(
                "UPDATE marks SET done = ?, sending = ?, last = ?, gaps = ?, checksum = ?",
                (*numbers, checksum_of(b"", *numbers)),
            )
        self._marks, self._last, self._gaps, self.used_bytes = work.marks, last, gaps, used_bytes

    def _insert(self, chunks: list[Chunk]) -> None:
        start = 0
        for rows, sql in _INSERTS.items():
            while len(chunks) - start >= rows:
                values = [value for chunk in chunks[start : start + rows] for value in encode_row(chunk)]
                self._connection.execute(sql, values)
                start += rows

    def _give_up(self, gaps: Gaps, first: int, last: int) -> int:
        first, last = gaps.add(first, last)
        self._connection.execute("DELETE FROM gaps WHERE first BETWEEN ? AND ?", (first, last))
        self._connection.execute(
            "INSERT INTO gaps VALUES (?, ?, ?)", (first, last, checksum_of(b"", first, last))
        )
        return self._delete(first, last)

    def _delete(self, first: int, last: int) -> int:
        """Delete the chunks that lie wholly in this range; returns what they counted for."""
        where = "FROM chunks WHERE first BETWEEN ? AND ? AND first + count - 1 <= ?"
        query = f"SELECT COUNT(*), TOTAL(count), TOTAL(size_bytes) {where}"
        rows, messages, size_bytes = self._connection.execute(query, (first, last, last)).fetchone()
        if not rows:
            return 0
        self._connection.execute(f"DELETE {where}", (first, last, last))
        return stored_bytes(int(messages), int(size_bytes)) + (int(rows) - 1) * stored_bytes(0, 0)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:  # whatever it was: half of a transaction must not stay open
            # SQLite has rolled back by itself after some errors.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    # --- reading ----------------------------------------------------------------------------------------------

    def read(self, after: int, max_bytes: int, max_messages: int = EVERY_MESSAGE) -> list[Chunk]:
        """The messages that follow number `after`, in order, about so many and so large, one chunk at least.

        Without those that are done or given up: around these a chunk is cut. Raises SpoolError.
        """
        found: list[Chunk] = []
        messages = size_bytes = 0
        after = max(after, self._marks.done)
        with self._reported(), closing(self._chunks_from(after + 1)) as chunks:
            for chunk in chunks:
                if found and (
                    size_bytes + chunk.size_bytes > max_bytes or messages + len(chunk.messages) > max_messages
                ):
                    break
                for piece in self._open_parts(chunk, after):
                    found.append(piece)
                    messages += len(piece.messages)
                    size_bytes += piece.size_bytes
        return found

    def _chunks_from(self, number: int) -> Generator[Chunk]:
        rows = self._connection.execute(
            "SELECT first, count, size_bytes, accepted_at, checksum, body FROM chunks"
            " WHERE first >= (SELECT COALESCE(MAX(first), 0) FROM chunks WHERE first <= ?) ORDER BY first",
            (number,),
        )
        with closing(rows):
            for row in rows:
                yield decode_row(*row)

    def _open_parts(self, chunk: Chunk, after: int, until: int | None = None) -> Iterator[Chunk]:
        last = chunk.last if until is None else min(chunk.last, until)
        for first, end in self._gaps.outside(max(chunk.first, after + 1), last):
            yield chunk.part(first, end)

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            if self._connection.in_transaction:  # to roll back may fail too
                self._connection.execute("ROLLBACK")
            yield
        except sqlite3.Error as error:
            raise _spool_error(self._path, error) from error
        except DamagedError as damage:
            raise SpoolError(f"{self._path} is damaged: {damage}", is_temporary=False) from damage

    def close(self) -> None:
        """Write the log into the file and close it. To close again is no harm.

        Where the disk does not allow it the log stays, and is read at the next start.
        """
        self._connection.close()


@contextmanager
def _opening(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if _base_code(error) in _NOT_THE_CONTENTS:
            raise _spool_error(path, error) from error
        raise DamagedError(str(error)) from error
    except UnicodeDecodeError as error:
        # SQLite quotes what it found, and its module takes that for text.
        raise DamagedError("a name in it is not even text") from error


def _base_code(error: sqlite3.Error) -> int:
    # Errors of the sqlite3 module itself have no code.
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & _BASE_CODE


def _spool_error(path: Path, error: sqlite3.Error) -> SpoolError:
    code = _base_code(error)
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return SpoolError(f"{path} is in use by another process", is_temporary=True)
    return SpoolError(f"{path}: {error}", is_temporary=code in _TEMPORARY)


def _text(row: tuple[object, ...] | None) -> str:
    value = row[0] if row else b"quick_check has no answer"
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
