"""SpoolFile: whatever is committed, interrupted, killed and opened again, it holds what a plain list would."""

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sockjs_bridge.bridge.batch import utf8_bytes
from sockjs_bridge.bridge.chunks import Chunk, Marks, Recovered, Work
from sockjs_bridge.bridge.spool_file import SpoolFile
from sockjs_bridge.errors import SpoolError
from tests.property import wire

BURSTS = st.lists(st.lists(wire.ANY_TEXT, min_size=1, max_size=5), max_size=4)
RANGES = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 6)), max_size=2)
Numbered = list[tuple[int, str, float]]


class SpoolMachine(RuleBasedStateMachine):
    """A file beside a list of all messages, two marks and a set of numbers that were given up."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "0.spool"
        self.file = SpoolFile.open(self.path)
        self.messages: Numbered = []
        self.chunks: list[tuple[int, int, int]] = []
        self.marks = Marks()
        self.given_up: set[int] = set()
        self.copies = 0

    def teardown(self) -> None:
        self.file.close()
        shutil.rmtree(self.folder)

    def _work(self, bursts: list[list[str]], done: int, sending: int, ranges: list[tuple[int, int]]) -> Work:
        chunks: list[Chunk] = []
        last = len(self.messages)
        for burst in bursts:
            chunks.append(Chunk(last + 1, burst, utf8_bytes(burst), float(last)))
            last += len(burst)
        gaps = [(first, min(first + more, last)) for first, more in ranges if first <= last]
        done = min(self.marks.done + done, last)
        return Work(last, Marks(done, min(done + sending, last)), chunks, gaps)

    def _keep(self, work: Work) -> None:
        for chunk in work.chunks:
            self.chunks.append((chunk.first, chunk.last, chunk.stored_bytes))
            self.messages += [(chunk.first + i, m, chunk.accepted_at) for i, m in enumerate(chunk.messages)]
        self.marks = work.marks
        for first, last in work.gaps:
            self.given_up.update(range(first, last + 1))

    @rule(bursts=BURSTS, done=st.integers(0, 8), sending=st.integers(0, 8), ranges=RANGES)
    def commit(self, bursts: list[list[str]], done: int, sending: int, ranges: list[tuple[int, int]]) -> None:
        work = self._work(bursts, done, sending, ranges)
        self.file.commit(work)
        self._keep(work)

    @rule(
        bursts=BURSTS,
        done=st.integers(0, 8),
        sending=st.integers(0, 8),
        ranges=RANGES,
        steps=st.integers(1, 60),
    )
    def interrupted(
        self, bursts: list[list[str]], done: int, sending: int, ranges: list[tuple[int, int]], steps: int
    ) -> None:
        """A commit that breaks off anywhere keeps nothing; one that ends before that keeps all."""
        work = self._work(bursts, done, sending, ranges)
        breaks = iter([1])
        self.file._connection.set_progress_handler(lambda: next(breaks, 0), steps)
        with suppress(SpoolError):
            self.file.commit(work)
            self._keep(work)
        self.file._connection.set_progress_handler(None, 0)

    @rule()
    def restart(self) -> None:
        self.file.close()
        assert [path.name for path in self.folder.iterdir()] == [self.path.name]
        self._open()

    @rule()
    def kill(self) -> None:
        """What lies on the disk at any moment is what a killed process leaves."""
        old, self.copies = self.path, self.copies + 1
        self.path = self.folder / f"{self.copies}.spool"
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{old}{suffix}", f"{self.path}{suffix}")
        self.file.close()
        old.unlink()
        self._open()

    def _open(self) -> None:
        self.file = SpoolFile.open(self.path)
        queued = [message for number, message, _ in self._open_messages() if number > self.marks.sending]
        in_doubt = [message for number, message, _ in self._open_messages() if number <= self.marks.sending]
        recovered = self.file.recovered
        assert recovered == Recovered(
            self.marks,
            recovered.gaps,
            len(self.messages),
            len(queued),
            utf8_bytes(queued),
            len(in_doubt),
            utf8_bytes(in_doubt),
        )
        still = {number for first, last in recovered.gaps for number in range(first, last + 1)}
        behind = {number for number in self.given_up if number > self.marks.done}
        assert behind == {number for number in still if number > self.marks.done}

    def _open_messages(self) -> Numbered:
        return [
            entry for entry in self.messages if entry[0] > self.marks.done and entry[0] not in self.given_up
        ]

    @rule(after=st.integers(0, 60), max_bytes=st.integers(0, 60))
    def read(self, after: int, max_bytes: int) -> None:
        """In order, without doubles, nothing left out before the end; a chunk more only if it fits."""
        read = self._numbered(self.file.read(after, max_bytes))
        expected = [entry for entry in self._open_messages() if entry[0] > after]
        assert read == expected[: len(read)]
        assert read or not expected

    @invariant()
    def reading_on_gives_all(self) -> None:
        found: Numbered = []
        after = 0
        while chunks := self.file.read(after, 10):
            found += self._numbered(chunks)
            after = chunks[-1].last
        assert found == self._open_messages()

    @invariant()
    def counts_what_it_holds(self) -> None:
        """A chunk goes when all of it is done, or all of it given up; which may happen bit by bit."""
        held = [
            size_bytes
            for first, last, size_bytes in self.chunks
            if last > self.marks.done and not self._all_given_up(first, last)
        ]
        assert self.file.used_bytes == sum(held)

    def _all_given_up(self, first: int, last: int) -> bool:
        return self.given_up.issuperset(range(first, last + 1))

    @staticmethod
    def _numbered(chunks: list[Chunk]) -> Numbered:
        assert all(chunk.messages for chunk in chunks)
        assert all(chunk.size_bytes == utf8_bytes(chunk.messages) for chunk in chunks)
        return [
            (chunk.first + i, m, chunk.accepted_at) for chunk in chunks for i, m in enumerate(chunk.messages)
        ]


TestSpoolMachine = SpoolMachine.TestCase
# Each step waits for the disk, so there are fewer.
TestSpoolMachine.settings = settings(max_examples=settings().max_examples // 2)
