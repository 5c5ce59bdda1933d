"""A certificate authority for tests, made with the command `openssl`."""

import shutil
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Certificate:
    """The PEM files of a certificate and its key."""

    cert: Path
    key: Path


class Authority:
    """Signs certificates that go into `folder`. Keys are of P-256, which is quick."""

    def __init__(self, folder: Path, name: str = "Test CA") -> None:
        self._folder = folder / name.replace(" ", "-").lower()
        self._folder.mkdir()
        self._own = self._make("ca", name, "-x509", "-addext", "basicConstraints=critical,CA:true")

    @property
    def cert(self) -> Path:
        """The authority's own certificate."""
        return self._own.cert

    def server(self, file: str = "server") -> Certificate:
        """A certificate for localhost; the same `file` again renews it."""
        return self._sign(file, "localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1")

    def client(self, name: str, *, days: int = 1) -> Certificate:
        """A certificate for a program of this name; of negative `days`, one that has expired."""
        return self._sign(name.replace(" ", "-"), name, days=days)

    def _sign(self, file: str, name: str, *more: str, days: int = 1) -> Certificate:
        request = self._make(file, name, *more)
        signed = request.cert.with_suffix(".signed")
        by = ("-CA", self._own.cert, "-CAkey", self._own.key)
        kept = ("-copy_extensions", "copy", "-days", str(days))
        _openssl("x509", "-req", *kept, *by, "-in", request.cert, "-out", signed)
        signed.rename(request.cert)
        return request

    def _make(self, file: str, name: str, *more: str) -> Certificate:
        made = Certificate(self._folder / f"{file}.pem", self._folder / f"{file}.key")
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        _openssl("req", "-new", *curve, "-subj", f"/CN={name}", "-keyout", made.key, "-out", made.cert, *more)
        return made


def client_context(authority: Authority, own: Certificate | None = None) -> ssl.SSLContext:
    """What a program uses that trusts this authority, and shows its own certificate if it has one."""
    context = ssl.create_default_context(cafile=str(authority.cert))
    if own is not None:
        context.load_cert_chain(own.cert, own.key)
    return context


def _openssl(*arguments: str | Path) -> None:
    program = shutil.which("openssl")
    assert program is not None, "the command openssl is not installed"
    subprocess.run([program, *arguments], check=True, capture_output=True, timeout=30)


def encrypt_key(key: Path, into: Path) -> Path:
    """Write a key anew, with a passphrase."""
    _openssl("pkey", "-in", key, "-aes256", "-passout", "pass:secret", "-out", into)
    return into
