"""The file of a spool: what it keeps, gives back and deletes, and what it does with files it can not use."""

import os
import re
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sockjs_bridge.bridge.batch import utf8_bytes
from sockjs_bridge.bridge.chunks import Chunk, Gaps, Marks, Recovered, Work, stored_bytes
from sockjs_bridge.bridge.spool_file import SpoolFile
from sockjs_bridge.errors import SpoolError

EVERYTHING = 1 << 30
NO_MARKS = Marks()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chat.spool"


@pytest.fixture
def file(path: Path) -> Iterator[SpoolFile]:
    file = SpoolFile.open(path)
    yield file
    file.close()


def chunk(first: int, *messages: str) -> Chunk:
    return Chunk(first, list(messages), utf8_bytes(list(messages)), 1000.0 + first)


def numbered(chunks: list[Chunk]) -> list[tuple[int, str]]:
    return [
        (chunk.first + index, message) for chunk in chunks for index, message in enumerate(chunk.messages)
    ]


def reopened(file: SpoolFile, path: Path) -> SpoolFile:
    file.close()
    return SpoolFile.open(path)


def commit_ten(file: SpoolFile, marks: Marks = NO_MARKS, gaps: tuple[tuple[int, int], ...] = ()) -> None:
    """1 to 10, in chunks of 4, 1 and 5."""
    chunks = [chunk(1, "a", "b", "c", "d"), chunk(5, "e"), chunk(6, "f", "g", "h", "i", "j")]
    file.commit(Work(10, marks, chunks, list(gaps)))


# --- keeping ----------------------------------------------------------------------------------------------


def test_a_new_file_is_for_its_owner_only_and_so_is_its_log(path: Path) -> None:
    previous = os.umask(0)
    try:
        file = SpoolFile.open(path)
    finally:
        os.umask(previous)
    commit_ten(file)
    assert {stat.S_IMODE(p.stat().st_mode) for p in path.parent.iterdir()} == {0o600}
    assert {p.name for p in path.parent.iterdir()} == {"chat.spool", "chat.spool-wal"}
    assert file.recovered == Recovered()
    file.close()


def test_a_clean_end_leaves_the_file_alone_without_a_log(file: SpoolFile, path: Path) -> None:
    commit_ten(file)
    file.close()
    assert list(path.parent.iterdir()) == [path]


def test_it_is_as_durable_as_promised(file: SpoolFile) -> None:
    def setting(name: str) -> object:
        return file._connection.execute(f"PRAGMA {name}").fetchone()[0]

    assert setting("journal_mode") == b"wal"
    assert setting("synchronous") == 2  # FULL
    assert setting("locking_mode") == b"exclusive"


MESSAGES = ["", "plain", "\0\n\r\x7f", "é€😀", "\ud800", "\udc00\ud800", "\ud83d\ude00", '"\\', "x" * 100_000]


def test_messages_come_back_exactly(file: SpoolFile, path: Path) -> None:
    file.commit(Work(len(MESSAGES), Marks(), [chunk(1, *MESSAGES)]))
    assert file.read(0, 1) == [chunk(1, *MESSAGES)]
    again = reopened(file, path)
    assert again.read(0, 1) == [chunk(1, *MESSAGES)]
    again.close()


@pytest.mark.parametrize("count", [1, 3, 4, 15, 16, 17, 100])
def test_any_number_of_chunks_fits_in_one_commit(file: SpoolFile, count: int) -> None:
    chunks = [chunk(number, f"m{number}") for number in range(1, count + 1)]
    file.commit(Work(count, Marks(), chunks))
    assert file.read(0, EVERYTHING) == chunks


def test_what_it_held_is_told_after_opening(file: SpoolFile, path: Path) -> None:
    commit_ten(file, Marks(2, 6), ((3, 3), (8, 9)))
    again = reopened(file, path)
    assert again.recovered == Recovered(
        marks=Marks(2, 6),
        gaps=((3, 3), (8, 9)),
        last=10,
        queued_messages=2,
        queued_bytes=2,
        in_doubt_messages=3,
        in_doubt_bytes=3,
    )
    assert again.used_bytes == file.used_bytes
    again.close()


def test_numbers_go_on_after_all_is_done(file: SpoolFile, path: Path) -> None:
    commit_ten(file)
    file.commit(Work(10, Marks(10, 10)))
    assert file.used_bytes == 0
    again = reopened(file, path)
    assert again.recovered == Recovered(marks=Marks(10, 10), last=10)
    again.commit(Work(11, Marks(10, 10), [chunk(11, "next")]))
    assert numbered(again.read(0, EVERYTHING)) == [(11, "next")]
    again.close()


def test_the_sending_mark_may_go_back(file: SpoolFile, path: Path) -> None:
    commit_ten(file, Marks(2, 6))
    file.commit(Work(10, Marks(2, 4)))
    again = reopened(file, path)
    assert (again.recovered.in_doubt_messages, again.recovered.queued_messages) == (2, 6)
    again.close()


# --- reading and deleting ---------------------------------------------------------------------------------


def test_reading_starts_inside_a_chunk_and_leaves_out_what_is_done_or_given_up(file: SpoolFile) -> None:
    commit_ten(file, Marks(1, 1), ((3, 3), (8, 9)))
    assert numbered(file.read(0, EVERYTHING)) == [
        (2, "b"),
        (4, "d"),
        (5, "e"),
        (6, "f"),
        (7, "g"),
        (10, "j"),
    ]
    assert numbered(file.read(6, EVERYTHING)) == [(7, "g"), (10, "j")]
    assert file.read(10, EVERYTHING) == []
    assert file.read(11, EVERYTHING) == []
    assert {piece.accepted_at for piece in file.read(5, EVERYTHING)} == {1006.0}


@pytest.mark.parametrize(("max_bytes", "last"), [(0, 4), (4, 4), (5, 5), (9, 5), (10, 10)])
def test_reading_stops_before_the_chunk_that_is_too_much_but_gives_one(
    file: SpoolFile, max_bytes: int, last: int
) -> None:
    commit_ten(file)
    assert [number for number, _ in numbered(file.read(0, max_bytes))] == list(range(1, last + 1))


def test_a_chunk_of_which_all_is_given_up_or_done_is_no_end(file: SpoolFile) -> None:
    """Chunk 1 to 4 is half done and half given up: there still, but nothing of it is read."""
    commit_ten(file, Marks(2, 2), ((3, 4),))
    assert numbered(file.read(0, 1)) == [(5, "e")]


def test_chunks_are_deleted_when_they_are_wholly_done_or_given_up(file: SpoolFile) -> None:
    commit_ten(file)
    whole = stored_bytes(4, 4) + stored_bytes(1, 1) + stored_bytes(5, 5)
    assert file.used_bytes == whole
    file.commit(Work(10, Marks(3, 3)))
    assert file.used_bytes == whole
    file.commit(Work(10, Marks(3, 3), gaps=[(5, 6)]))
    assert file.used_bytes == stored_bytes(4, 4) + stored_bytes(5, 5)
    file.commit(Work(10, Marks(4, 4), gaps=[(7, 10)]))
    assert file.used_bytes == 0
    assert file._connection.execute("SELECT COUNT(*) FROM chunks").fetchone() == (0,)


def test_neighbouring_gaps_become_one_row(file: SpoolFile, path: Path) -> None:
    commit_ten(file)
    for number in (2, 4, 3, 9):
        file.commit(Work(10, Marks(), gaps=[(number, number)]))
    assert file._connection.execute("SELECT first, last FROM gaps").fetchall() == [(2, 4), (9, 9)]
    file.commit(Work(10, Marks(4, 4)))
    again = reopened(file, path)
    assert again.recovered.gaps == ((9, 9),)
    again.close()


def test_numbers_given_up_before_they_were_stored_need_no_chunk(file: SpoolFile, path: Path) -> None:
    file.commit(Work(5, Marks(), [chunk(1, "a"), chunk(4, "d")], [(2, 3), (5, 5)]))
    again = reopened(file, path)
    assert again.recovered.last == 5
    assert numbered(again.read(0, EVERYTHING)) == [(1, "a"), (4, "d")]
    again.close()


@pytest.mark.parametrize("work", [Work(0, Marks(0, 1)), Work(9, Marks(1, 1)), Work(10, Marks(0, 1))])
def test_marks_that_make_no_sense_are_refused(file: SpoolFile, work: Work) -> None:
    commit_ten(file, Marks(1, 2))
    with pytest.raises(ValueError, match="marks that make no sense"):
        file.commit(work)


# --- failing commits --------------------------------------------------------------------------------------


def test_of_a_commit_that_fails_nothing_is_kept_and_it_can_be_repeated(file: SpoolFile, path: Path) -> None:
    commit_ten(file, Marks(1, 1))
    before = file.used_bytes, file.read(0, EVERYTHING)
    pages = file._connection.execute("PRAGMA page_count").fetchone()[0]
    file._connection.execute(f"PRAGMA max_page_count = {pages}")
    work = Work(12, Marks(5, 6), [chunk(11, "x" * 100_000, "y")], [(8, 8)])
    with pytest.raises(SpoolError, match="full") as caught:
        file.commit(work)
    assert caught.value.is_temporary
    assert (file.used_bytes, file.read(0, EVERYTHING)) == before
    file._connection.execute("PRAGMA max_page_count = 10000")
    file.commit(work)
    again = reopened(file, path)
    assert [number for number, _ in numbered(again.read(0, EVERYTHING))] == [6, 7, 9, 10, 11, 12]
    again.close()


def test_damage_while_it_is_open_is_no_matter_of_time(file: SpoolFile) -> None:
    commit_ten(file)
    file._connection.execute("UPDATE chunks SET body = X'00' WHERE first = 5")
    with pytest.raises(SpoolError, match="number 5 on are not as they were written") as caught:
        file.read(0, EVERYTHING)
    assert not caught.value.is_temporary


# --- places where there can be no file --------------------------------------------------------------------


def refusal(path: Path) -> SpoolError:
    with pytest.raises(SpoolError) as caught:
        SpoolFile.open(path)
    return caught.value


def test_a_missing_folder(tmp_path: Path) -> None:
    error = refusal(tmp_path / "state" / "chat.spool")
    assert str(error).endswith(f"the folder {tmp_path}/state does not exist")
    assert not error.is_temporary


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_not_a_regular_file_stays(path: Path, make: object) -> None:
    assert callable(make)
    make(path)
    error = refusal(path)
    assert str(error) == f"{path} is not a regular file"
    assert not error.is_temporary
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("what", ["folder", "file"])
def test_no_permission(path: Path, what: str) -> None:
    path.touch()
    closed = path if what == "file" else path.parent
    mode = closed.stat().st_mode
    closed.chmod(0o500 if what == "folder" else 0)
    try:
        error = refusal(path)
    finally:
        closed.chmod(mode)
    assert "no permission" in str(error)
    assert not error.is_temporary


def assert_no_other_process_gets_it(path: Path) -> None:
    script = f"""
from sockjs_bridge.bridge.spool_file import SpoolFile
from sockjs_bridge.errors import SpoolError
try:
    SpoolFile.open({str(path)!r})
except SpoolError as error:
    print(error.is_temporary, error)
"""
    other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert other.stdout == f"True {path} is in use by another process\n"


def test_another_process_has_it(file: SpoolFile, path: Path) -> None:
    assert_no_other_process_gets_it(path)
    commit_ten(file)
    assert_no_other_process_gets_it(path)


def test_another_user_in_the_same_process_gets_the_same_answer_and_takes_no_lock_away(
    file: SpoolFile, path: Path
) -> None:
    commit_ten(file)
    assert "in use" in str(refusal(path))
    assert_no_other_process_gets_it(path)


def test_an_empty_file_is_a_new_one(path: Path) -> None:
    path.touch()
    file = SpoolFile.open(path)
    assert file.recovered == Recovered()
    file.close()


def test_a_name_that_points_elsewhere_keeps_the_log_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "state" / "chat.spool")
    file = SpoolFile.open(tmp_path / "link")
    commit_ten(file)
    assert (tmp_path / "state" / "chat.spool-wal").exists()
    file.close()


# --- files of others --------------------------------------------------------------------------------------


def change(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def test_a_newer_format_is_refused_and_stays(file: SpoolFile, path: Path) -> None:
    commit_ten(file)
    file.close()
    change(path, "PRAGMA user_version = 2", "CREATE TABLE receipts (id)")
    error = refusal(path)
    assert "newer version of the bridge (format 2, this one knows 1)" in str(error)
    assert not error.is_temporary
    assert list(path.parent.iterdir()) == [path]


def test_the_database_of_another_program_is_refused_and_stays(path: Path) -> None:
    change(path, "CREATE TABLE bookmarks (url TEXT)", "INSERT INTO bookmarks VALUES ('x')")
    contents = path.read_bytes()
    error = refusal(path)
    assert str(error) == f"{path} is the database of another program"
    assert not error.is_temporary
    assert path.read_bytes() == contents
    assert list(path.parent.iterdir()) == [path]


# --- damage -----------------------------------------------------------------------------------------------


def assert_set_aside(path: Path) -> Recovered:
    contents = path.read_bytes()
    file = SpoolFile.open(path)
    recovered = file.recovered
    assert recovered.set_aside is not None
    assert re.fullmatch(r"chat\.spool\.corrupt-\d{8}T\d{6}Z(-\d+)?", recovered.set_aside.name)
    assert recovered.set_aside.read_bytes() == contents
    assert recovered.problem
    assert recovered == Recovered(set_aside=recovered.set_aside, problem=recovered.problem)
    commit_ten(file)
    file.close()
    return recovered


def test_garbage_is_set_aside_each_time_under_a_new_name(path: Path) -> None:
    names = set()
    for _ in range(3):
        path.write_bytes(b"not a database" * 1000)
        names.add(assert_set_aside(path).set_aside)
    assert len(names) == 3


def test_the_log_of_a_damaged_file_is_never_that_of_the_new_one(file: SpoolFile, path: Path) -> None:
    commit_ten(file)
    log = Path(f"{path}-wal")
    contents = log.read_bytes()
    file.close()
    path.write_bytes(b"x" * path.stat().st_size)
    log.write_bytes(contents[: len(contents) // 2])
    again = SpoolFile.open(path)
    assert again.recovered.set_aside is not None
    assert again.recovered.last == 0
    again.commit(Work(1, Marks(), [chunk(1, "new")]))
    third = reopened(again, path)
    assert numbered(third.read(0, EVERYTHING)) == [(1, "new")]
    third.close()


DAMAGE = {
    "body": "UPDATE chunks SET body = CAST('[\"z\"]' AS BLOB) WHERE first = 5",
    "body of another type": "UPDATE chunks SET body = 7",
    "size": "UPDATE chunks SET size_bytes = size_bytes + 1",
    "time": "UPDATE chunks SET accepted_at = 'yesterday'",
    "a chunk is missing": "DELETE FROM chunks WHERE first = 5",
    "the first chunk is missing": "DELETE FROM chunks WHERE first = 1",
    "the last chunk is missing": "DELETE FROM chunks WHERE first = 6",
    "another number": "UPDATE chunks SET first = 20 WHERE first = 6",
    "marks": "UPDATE marks SET sending = 1",
    "no marks": "DELETE FROM marks",
    "gap": "UPDATE gaps SET last = 9",
    "a gap is missing": "DELETE FROM gaps WHERE first = 10",
    "a table is missing": "DROP TABLE gaps",
    "the mark of the program": "PRAGMA application_id = 1",
    "the version": "PRAGMA user_version = 123456",
    "no version": "PRAGMA user_version = 0",
}


@pytest.mark.parametrize("statement", DAMAGE.values(), ids=DAMAGE.keys())
def test_contents_that_make_no_sense_are_set_aside(file: SpoolFile, path: Path, statement: str) -> None:
    commit_ten(file, Marks(2, 6), ((8, 8), (10, 10)))
    again = reopened(file, path)
    assert again.recovered.set_aside is None
    again.close()
    change(path, statement)
    assert_set_aside(path)


def test_a_truncated_file_is_set_aside(file: SpoolFile, path: Path) -> None:
    file.commit(Work(1, Marks(), [chunk(1, "x" * 100_000)]))
    file.close()
    os.truncate(path, path.stat().st_size // 2)
    assert_set_aside(path)


def test_a_file_that_was_large_once_is_made_smaller_at_the_next_start(file: SpoolFile, path: Path) -> None:
    chunks = [chunk(number, "x" * (1 << 20)) for number in range(1, 25)]
    file.commit(Work(24, Marks(), chunks))
    file.commit(Work(24, Marks(23, 23)))
    file.close()
    assert path.stat().st_size > 20 << 20
    again = SpoolFile.open(path)
    assert [piece.first for piece in again.read(0, EVERYTHING)] == [24]
    again.close()
    assert path.stat().st_size < 2 << 20


# --- gaps -------------------------------------------------------------------------------------------------


def test_gaps_tell_what_is_outside_of_them() -> None:
    gaps = Gaps()
    for gap in [(5, 6), (10, 12), (20, 20)]:
        gaps.add(*gap)
    assert gaps.outside(1, 30) == [(1, 4), (7, 9), (13, 19), (21, 30)]
    assert gaps.outside(6, 11) == [(7, 9)]
    assert gaps.outside(10, 12) == []
    assert gaps.outside(3, 2) == []
    assert gaps.add(7, 11) == (5, 12)
    assert list(gaps) == [(5, 12), (20, 20)]
    assert gaps.forget(12) == 1
    assert gaps.forget(19) == 0
    assert list(gaps) == [(20, 20)]
