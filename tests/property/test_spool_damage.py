"""A damaged spool is either read as it was written or set aside; to open it never raises, nor makes anything up."""

import tempfile
from functools import cache
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from sockjs_bridge.bridge.batch import utf8_bytes
from sockjs_bridge.bridge.chunks import Chunk, Marks, Recovered, Work
from sockjs_bridge.bridge.spool_file import SpoolFile
from sockjs_bridge.errors import SpoolError

EVERYTHING = 1 << 30
MESSAGES = [f"{number} " + "x" * (number * 37 % 900) for number in range(1, 81)]
Change = tuple[int, bytes]


@cache
def sound() -> tuple[bytes, bytes, bytes]:
    """The file after a clean end, and the file and its log as a killed process leaves them."""
    with tempfile.TemporaryDirectory() as folder:
        path, log = Path(folder, "spool"), Path(folder, "spool-wal")
        file = SpoolFile.open(path)
        for first in range(1, 81, 4):
            burst = MESSAGES[first - 1 : first + 3]
            gaps = [(30, 33)] if first == 29 else []
            marks = Marks(first // 5, first // 4)
            file.commit(Work(first + 3, marks, [Chunk(first, burst, utf8_bytes(burst), 7.0)], gaps))
            if first == 41:
                file.close()
                file = SpoolFile.open(path)
        killed = path.read_bytes(), log.read_bytes()
        file.close()
        return path.read_bytes(), *killed


def opened(main: bytes, log: bytes | None) -> tuple[Recovered, dict[int, str]] | None:
    """What is read from a file with these contents; None where it is set aside."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "spool")
        path.write_bytes(main)
        if log is not None:
            Path(folder, "spool-wal").write_bytes(log)
        try:
            file = SpoolFile.open(path)
        except SpoolError as error:
            # Four bytes say which version wrote the file; damage there may look like a newer one.
            if "newer version" not in str(error):
                raise
            return None
        try:
            chunks = file.read(0, EVERYTHING)
            last = file.recovered.last
            file.commit(Work(last + 1, file.recovered.marks, [Chunk(last + 1, ["new"], 3, 8.0)]))
        finally:
            file.close()
        if file.recovered.set_aside is not None:
            assert file.recovered.set_aside.exists()
            assert chunks == []
            return None
        return file.recovered, {
            chunk.first + index: message for chunk in chunks for index, message in enumerate(chunk.messages)
        }


def damaged(contents: bytes, changes: list[Change]) -> bytes:
    result = bytearray(contents)
    for anywhere, data in changes:
        place = anywhere % len(contents)
        result[place : place + len(data)] = data
    return bytes(result[: len(contents)])


CHANGES = st.lists(
    st.tuples(
        st.integers(0, 120) | st.integers(0, 1 << 18),
        st.binary(min_size=1, max_size=8) | st.integers(1, 9000).map(bytes),
    ),
    min_size=1,
    max_size=3,
)


def test_the_sound_files_are_read() -> None:
    main, killed, log = sound()
    clean = opened(main, None)
    assert clean is not None
    assert clean == opened(killed, log)
    assert clean[1] == {number: MESSAGES[number - 1] for number in range(16, 81) if not 30 <= number <= 33}


@example([(4044, b"\x80")])  # the name of a table, which SQLite quotes in its error
@given(CHANGES)
def test_bytes_are_written_over(changes: list[Change]) -> None:
    """What is not set aside is exactly what was there: damage in free space does no harm."""
    main, _, _ = sound()
    found = opened(damaged(main, changes), None)
    assert found is None or found == opened(main, None)


@given(st.integers(0, 1 << 18))
def test_the_end_is_cut_off(size: int) -> None:
    main, _, _ = sound()
    size %= len(main)
    found = opened(main[:size], None)
    # Nothing at all is a file that was never written.
    assert found is None or (size == 0 and found[1] == {})


@given(st.integers(0, 100), st.integers(0, 100))
def test_pages_are_in_the_wrong_place(one: int, other: int) -> None:
    main, _, _ = sound()
    pages = [main[start : start + 4096] for start in range(0, len(main), 4096)]
    one, other = one % len(pages), other % len(pages)
    pages[one], pages[other] = pages[other], pages[one]
    found = opened(b"".join(pages), None)
    assert found is None or found == opened(main, None)


@given(st.binary(max_size=200) | st.integers(0, 10_000).map(bytes))
def test_garbage_in_place_of_a_file(contents: bytes) -> None:
    found = opened(contents, None)
    assert found is None or (contents == b"" and found[1] == {})


@given(CHANGES, st.booleans(), st.integers(0, 1 << 18))
def test_the_log_is_damaged_or_cut_off(changes: list[Change], cut: bool, size: int) -> None:
    """SQLite ends a log at the first entry that is not sound: then it is as it was after an earlier commit."""
    _, killed, log = sound()
    found = opened(killed, log[: size % len(log)] if cut else damaged(log, changes))
    if found is not None:
        recovered, messages = found
        assert recovered.last % 4 == 0
        assert 44 <= recovered.last <= 80
        expected = range(recovered.marks.done + 1, recovered.last + 1)
        assert messages == {number: MESSAGES[number - 1] for number in expected if not 30 <= number <= 33}


def test_a_damaged_file_is_mended_by_its_log_or_set_aside() -> None:
    _, killed, log = sound()
    for start in range(0, len(killed), 4096):
        found = opened(damaged(killed, [(start, bytes(4096))]), log)
        assert found is None or found == opened(killed, log)
