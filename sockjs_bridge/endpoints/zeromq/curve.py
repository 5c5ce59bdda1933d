"""CURVE keys: files that hold them, and who may connect."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

import zmq

_KEY_CHARACTERS = 40
_LONGEST_FILE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class CurveServer:
    """Our side checks the keys of those that connect. Keys are Z85, 40 characters."""

    secret_key: bytes
    allow: frozenset[bytes]


@dataclass(frozen=True, slots=True)
class CurveClient:
    """Our side trusts one server, whose public key it knows."""

    secret_key: bytes
    server_key: bytes


def read_secret_key(path: str) -> bytes:
    """Read a secret key, as 40 characters of Z85.

    The file holds the key alone, as `sockjs-bridge keygen` writes it, or it is a certificate of czmq or
    pyzmq. Raises OSError or ValueError; no message shows what is in the file.
    """
    with Path(path).open("rb") as file:
        content = file.read(_LONGEST_FILE_BYTES)
    key = content.strip()
    for line in content.splitlines():
        name, equals, value = line.strip().partition(b"=")
        if equals and name.strip() == b"secret-key":
            key = value.strip(b" \t\"'")
    try:
        zmq.curve_public(key)
    except (zmq.ZMQError, ValueError, AssertionError) as error:
        raise ValueError(
            f"holds no CURVE secret key: {_KEY_CHARACTERS} characters of Z85, as sockjs-bridge keygen writes it"
        ) from error
    return key


def is_readable_by_others(path: str) -> bool:
    """Whether other users of this machine could read a key file."""
    return bool(Path(path).stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))


def write_key_pair(path: str) -> str:
    """Make a key pair; the secret goes to a new file of mode 0600. Returns the public key.

    Raises FileExistsError, and other OSErrors: a key is never overwritten.
    """
    public, secret = zmq.curve_keypair()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(secret + b"\n")
    return public.decode()
