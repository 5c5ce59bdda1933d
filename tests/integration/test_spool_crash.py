"""A spool whose process is killed, whose disk is full or whose disk fails: nothing committed is missing or doubled."""

import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sockjs_bridge.bridge.chunks import Chunk, Marks, Work
from sockjs_bridge.bridge.spool_file import SpoolFile
from sockjs_bridge.errors import SpoolError
from tests.small_disk import small_disk_at
from tests.spool_writer import message

EVERYTHING = 1 << 30
KILLS = 20
"""In CI; ten times as many with --long."""


class Account:
    """What processes that are gone said of one spool."""

    def __init__(self) -> None:
        self.committed = 0
        self.written: list[int] = []
        self.in_doubt: set[int] = set()

    def note(self, line: str) -> None:
        word, *numbers = line.split(maxsplit=1)
        if word == "committed":
            self.committed = int(numbers[0])
        elif word == "written":
            first, last = map(int, numbers[0].split())
            self.written += range(first, last + 1)

    def compare(self, file: SpoolFile) -> None:
        marks = file.recovered.marks
        assert file.recovered.set_aside is None
        assert self.committed <= file.recovered.last
        # Each message once, and what is queued was never written.
        assert len(set(self.written)) == len(self.written)
        assert max(self.written, default=0) <= marks.sending
        # What a process may have written when it was killed, the next one reported as in doubt.
        assert self.in_doubt.union(self.written).issuperset(range(1, marks.done + 1))
        self.in_doubt.update(range(marks.done + 1, marks.sending + 1))
        found = [
            (chunk.first + index, text)
            for chunk in file.read(0, EVERYTHING)
            for index, text in enumerate(chunk.messages)
        ]
        assert found == [(n, message(n)) for n in range(marks.done + 1, file.recovered.last + 1)]
        assert file.recovered.in_doubt_messages == marks.sending - marks.done
        assert file.recovered.queued_messages == file.recovered.last - marks.sending


def start(path: Path, *more: object, before: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    command = [*before, sys.executable, "-m", "tests.spool_writer", *map(str, (path, *more))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.timeout(300)
def test_kill_9_at_any_moment(tmp_path: Path, is_long: bool) -> None:
    path = tmp_path / "chat.spool"
    account = Account()
    chance = random.Random(6)
    for _ in range(KILLS * (10 if is_long else 1)):
        process = start(path)
        assert process.stdout is not None
        for _ in range(chance.choice([0, 1, 2, 30, 300])):
            account.note(process.stdout.readline())
        # Not in step with what was said: in the middle of a commit, of a checkpoint, of opening.
        time.sleep(chance.random() * 0.02)
        process.kill()
        for line in process.stdout:
            account.note(line)
        process.stdout.close()
        assert process.wait() == -9
        file = SpoolFile.open(path)
        account.compare(file)
        file.close()
    assert account.committed > 1000
    assert len(account.written) > 1000


# --- a full disk ------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk_at(tmp_path / "small", "1m") as folder:
        yield folder


def fill(folder: Path) -> Path:
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return ballast


def works(count: int) -> list[Work]:
    return [
        Work(number, Marks(), [Chunk(number, [message(number)], len(message(number).encode()), 1.0)])
        for number in range(1, count + 1)
    ]


def test_a_disk_that_fills_up_and_is_emptied(small_disk: Path) -> None:
    path = small_disk / "chat.spool"
    file = SpoolFile.open(path)
    waiting = works(4000)
    kept = 0
    with pytest.raises(SpoolError, match="full") as caught:
        while True:
            file.commit(waiting[kept])
            kept += 1
    assert caught.value.is_temporary
    assert 100 < kept < len(waiting)
    with pytest.raises(SpoolError):
        file.commit(waiting[kept])
    assert sum(len(chunk.messages) for chunk in file.read(0, EVERYTHING)) == kept
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    for work in waiting[kept:]:
        file.commit(work)
    file.close()
    again = SpoolFile.open(path)
    assert [text for chunk in again.read(0, EVERYTHING) for text in chunk.messages] == [
        message(number) for number in range(1, 4001)
    ]
    again.close()


def test_a_process_killed_on_a_full_disk_leaves_all_that_was_committed(small_disk: Path) -> None:
    path = small_disk / "chat.spool"
    process = start(path)
    assert process.stdout is not None
    account = Account()
    for _ in range(20):
        account.note(process.stdout.readline())
    ballast = fill(small_disk)
    for line in process.stdout:
        account.note(line)
        if line.startswith("failing"):
            assert "full" in line
            break
    else:
        pytest.fail("the disk was never full")
    process.kill()
    for more in process.stdout:
        account.note(more)
    process.stdout.close()
    process.wait()
    # It can be opened or not, but nothing is thrown away for want of room.
    try:
        SpoolFile.open(path).close()
    except SpoolError as error:
        if not error.is_temporary:
            raise
    ballast.unlink()
    file = SpoolFile.open(path)
    account.compare(file)
    file.close()


def test_a_full_disk_at_the_start_is_a_matter_of_time(small_disk: Path) -> None:
    path = small_disk / "chat.spool"
    ballast = fill(small_disk)
    with pytest.raises(SpoolError) as caught:
        SpoolFile.open(path)
    assert caught.value.is_temporary
    ballast.unlink()
    file = SpoolFile.open(path)
    file.commit(works(1)[0])
    file.close()


# --- a failing disk ---------------------------------------------------------------------------------------


@pytest.fixture
def strace() -> str:
    found = shutil.which("strace")
    if found is None:
        pytest.skip("strace is not installed")
    probe = subprocess.run(
        [found, "-qq", "-e", "trace=none", "true"], capture_output=True, text=True, check=False
    )
    if probe.returncode:
        pytest.skip(f"strace can not trace here: {probe.stderr.strip()}")
    return found


@pytest.mark.timeout(120)
@pytest.mark.parametrize("calls", ["fdatasync,fsync", "pwrite64,write"])
def test_a_disk_that_fails_for_a_while(tmp_path: Path, strace: str, calls: str) -> None:
    """Commits fail, are repeated, and go on: every message arrives, each once."""
    path = tmp_path / "chat.spool"
    faults = [f"trace={calls}", f"inject={calls}:error=EIO:when=12..16"]
    options = ["-f", "-qq", "-o", "/dev/null", "-P", str(path), "-P", f"{path}-wal"]
    process = start(path, 3000, before=(strace, *options, "-e", faults[0], "-e", faults[1]))
    said = process.communicate(timeout=100)[0].splitlines()
    assert process.returncode == 0
    account = Account()
    for line in said:
        account.note(line)
    assert any(line.startswith("failing") and "I/O error" in line for line in said)
    assert "healed" in said
    assert said[-1] == "closed True"
    assert account.written == list(range(1, account.written[-1] + 1))
    assert len(account.written) >= 3000
    file = SpoolFile.open(path)
    account.compare(file)
    file.close()


@pytest.mark.timeout(120)
def test_a_process_killed_while_its_disk_fails(tmp_path: Path, strace: str) -> None:
    path = tmp_path / "chat.spool"
    calls = "fdatasync,fsync"
    options = [
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        f"trace={calls}",
        "-e",
        f"inject={calls}:error=EIO:when=30+",
    ]
    process = start(path, before=(strace, "-D", *options))
    assert process.stdout is not None
    account = Account()
    for line in process.stdout:
        account.note(line)
        if line.startswith("failing"):
            break
    assert account.committed > 0
    process.kill()
    for line in process.stdout:
        account.note(line)
    process.stdout.close()
    process.wait()
    file = SpoolFile.open(path)
    account.compare(file)
    file.close()
