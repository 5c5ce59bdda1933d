"""What the kernel knows of a process: memory, descriptors, threads."""

from pathlib import Path

MIB = 1 << 20


def memory_bytes(pid: int, what: str = "VmRSS") -> int:
    """Resident memory now; `VmHWM` is the most there ever was."""
    return _status(pid, what) * 1024


def threads(pid: int) -> int:
    """How many threads there are."""
    return _status(pid, "Threads")


def descriptors(pid: int) -> int:
    """How many descriptors are open."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def cpu_seconds(pid: int) -> float:
    """How much processor time was used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def _status(pid: int, what: str) -> int:
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(text.partition(f"{what}:")[2].split()[0])
