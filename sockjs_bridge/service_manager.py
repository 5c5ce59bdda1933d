"""What a service manager such as systemd hands to the process, and what it is told (sd_notify, sd_listen_fds)."""

import os
import socket
import time
from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import ExitStack, suppress
from typing import Self

_FIRST_DESCRIPTOR = 3  # SD_LISTEN_FDS_START
_UNNAMED = "unknown"  # what sd_listen_fds_with_names calls sockets without a name
_MICROSECONDS = 1_000_000
_TAKEN = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")


class ServiceManager:
    """The service manager that started this process. Without one, every method does nothing.

    Holds descriptors until `close`. `passed` are the names and descriptors of the sockets, in their order.
    """

    def __init__(
        self,
        notify_socket: str = "",
        watchdog_seconds: float | None = None,
        passed: Sequence[tuple[str, int]] = (),
    ) -> None:
        self._notify_address = _notify_address(notify_socket)
        self._watchdog_seconds = watchdog_seconds
        self._passed = tuple(passed)
        self._notifier: socket.socket | None = None
        if self._notify_address:
            # Kept open: the watchdog has to be petted when there is no descriptor left for a new socket, too.
            # Not connected: so it also reaches a manager that was started anew.
            self._notifier = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._notifier.setblocking(False)

    @classmethod
    def from_environment(
        cls, environ: MutableMapping[str, str], first_descriptor: int = _FIRST_DESCRIPTOR
    ) -> Self:
        """Take the manager's variables out of `environ`, so that children do not inherit them.

        What is meant for another process is ignored. Raises OSError, with a text for the user, where a variable
        cannot be understood; the variables are gone then, too.
        """
        taken = {name: value for name in _TAKEN if (value := environ.pop(name, None)) is not None}
        return cls(taken.get("NOTIFY_SOCKET", ""), _watchdog(taken), _passed(taken, first_descriptor))

    @property
    def watchdog_seconds(self) -> float | None:
        """How often to send WATCHDOG=1: half of the time after which the manager kills. None: no watchdog."""
        return self._watchdog_seconds

    @property
    def names(self) -> tuple[str, ...]:
        """The different names of the passed sockets, in their order."""
        return tuple(dict.fromkeys(name for name, _ in self._passed))

    def notify(self, **fields: str | int) -> None:
        """Tell the manager these fields in one message, such as `notify(READY=1, STATUS="3/4 sessions open")`.

        Never blocks and never fails: a manager that is gone, or too busy to read, is not told.
        """
        if self._notifier is None:
            return
        # A line break would begin another field.
        lines = [f"{name}={' '.join(str(value).splitlines())}" for name, value in fields.items()]
        message = "\n".join(lines).encode(errors="backslashreplace")
        with suppress(OSError):
            self._notifier.sendto(message, self._notify_address)

    def reloading(self) -> None:
        """Say that a reload begins; `notify(READY=1)` says that it has ended."""
        # In one message: with Type=notify-reload the time says which reload request this is the answer to.
        nanoseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        self.notify(RELOADING=1, MONOTONIC_USEC=nanoseconds // 1000)

    def sockets(self, name: str) -> list[socket.socket]:
        """The listening sockets of this name, as duplicates to close: the passed ones stay open.

        So a listener can be taken away and come back, and clients wait in between. Raises OSError with a text
        for the user.
        """
        descriptors = [descriptor for passed_name, descriptor in self._passed if passed_name == name]
        if not descriptors:
            raise OSError(
                f'the service manager has passed no socket named "{name}"; {_there_are(self.names)}'
            )
        with ExitStack() as on_failure:
            duplicates = [
                on_failure.enter_context(_duplicate(descriptor, name)) for descriptor in descriptors
            ]
            on_failure.pop_all()
        return duplicates

    def close(self) -> None:
        """Close what the manager passed, and tell it nothing more."""
        if self._notifier is not None:
            self._notifier.close()
            self._notifier = None
        for _, descriptor in self._passed:
            with suppress(OSError):
                os.close(descriptor)
        self._passed = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _notify_address(text: str) -> str:
    if text.startswith("/"):
        return text
    if text.startswith("@"):
        return f"\0{text[1:]}"
    return ""  # such as vsock:, which speaks to the manager of the machine around this one


def _watchdog(taken: Mapping[str, str]) -> float | None:
    if "WATCHDOG_USEC" not in taken or not _is_meant_for_us(taken, "WATCHDOG_PID", without=True):
        return None
    # To go on unpetted would mean to be killed again and again, with no reason in sight.
    microseconds = _number(taken, "WATCHDOG_USEC")
    if microseconds == 0:
        raise OSError("the service manager has set WATCHDOG_USEC=0, which is no time to keep to")
    return microseconds / _MICROSECONDS / 2


def _passed(taken: Mapping[str, str], first_descriptor: int) -> list[tuple[str, int]]:
    if "LISTEN_FDS" not in taken or not _is_meant_for_us(taken, "LISTEN_PID", without=False):
        return []
    count = _number(taken, "LISTEN_FDS")
    names = taken["LISTEN_FDNAMES"].split(":") if taken.get("LISTEN_FDNAMES") else [_UNNAMED] * count
    if len(names) != count:
        raise OSError(
            f"the service manager has set LISTEN_FDS={count} but {len(names)} names in LISTEN_FDNAMES: "
            f"{':'.join(names)}"
        )
    passed = [(name, first_descriptor + index) for index, name in enumerate(names)]
    for name, descriptor in passed:
        try:
            os.set_inheritable(descriptor, False)
        except OSError as error:
            raise OSError(f"{_label(name, descriptor)} is not open") from error
    return passed


def _is_meant_for_us(taken: Mapping[str, str], variable: str, *, without: bool) -> bool:
    """Whether the pid in `variable` is ours; `without` is the answer where it is not set."""
    return without if variable not in taken else _number(taken, variable) == os.getpid()


def _number(taken: Mapping[str, str], variable: str) -> int:
    text = taken[variable]
    # 18 digits are more than any of these can be, and fewer than int() takes long for.
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise OSError(f'the service manager has set {variable}="{text}", which is not a number')
    return int(text)


def _duplicate(descriptor: int, name: str) -> socket.socket:
    label = _label(name, descriptor)
    try:
        duplicate = os.dup(descriptor)
    except OSError as error:
        raise OSError(f"{label} cannot be used: {os.strerror(error.errno or 0).lower()}") from error
    try:
        sock = socket.socket(fileno=duplicate)
    except OSError as error:
        os.close(duplicate)
        raise OSError(f"{label} is not a socket") from error
    if sock.type != socket.SOCK_STREAM or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.close()
        raise OSError(
            f"{label} is not a listening stream socket: use ListenStream= and Accept=no in its socket unit"
        )
    sock.setblocking(False)
    return sock


def _label(name: str, descriptor: int) -> str:
    return f'descriptor {descriptor}, passed by the service manager as "{name}",'


def _there_are(names: Sequence[str]) -> str:
    if not names:
        return "it has passed none at all: is the socket unit started?"
    return "there are: " + ", ".join(names)
