"""TLS to a server: whom to trust, what to show, and what it means when it fails."""

import asyncio
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sockjs_bridge.errors import ConnectError, Obstacle
from sockjs_bridge.pem_files import (
    CERTIFICATE,
    Problem,
    authorities,
    in_words,
    load_pair,
    read_pair,
    read_pem,
)

_PROTOCOLS = ["http/1.1"]  # a WebSocket, too, begins with it

# OpenSSL's x509_vfy.h.
_EXPIRED, _NOT_YET_VALID = 10, 9
_OTHER_HOST, _OTHER_ADDRESS = 62, 64
_SELF_SIGNED = 18
_UNKNOWN_AUTHORITY = {2, 19, 20, 21}

# Parts of OpenSSL's names, and what they mean; the first that fits counts. An alert comes from the server.
_REASONS = (
    ("ALERT_CERTIFICATE_REQUIRED", "the server wants a certificate from us: set tls.cert and tls.key"),
    ("ALERT_CERTIFICATE_EXPIRED", "the server does not accept our certificate (tls.cert): it has expired"),
    ("ALERT_CERTIFICATE_REVOKED", "the server does not accept our certificate (tls.cert): it is revoked"),
    (
        "ALERT_UNKNOWN_CA",
        "the server does not accept our certificate (tls.cert): it does not trust the authority that it is from",
    ),
    ("ALERT_BAD_CERTIFICATE", "the server does not accept our certificate (tls.cert)"),
    (
        "ALERT_UNSUPPORTED_CERTIFICATE",
        "the server does not accept our certificate (tls.cert): it is of a wrong kind",
    ),
    ("ALERT_CERTIFICATE_UNKNOWN", "the server does not accept our certificate (tls.cert)"),
    ("ALERT_ACCESS_DENIED", "the server does not let us in with our certificate (tls.cert)"),
    (
        "UNRECOGNIZED_NAME",
        "the server does not know the name that we asked for: set tls.server_name, or correct the url",
    ),
    ("PROTOCOL_VERSION", "the server speaks no version of TLS that is safe: 1.2 and 1.3 are"),
    ("UNSUPPORTED_PROTOCOL", "the server speaks no version of TLS that is safe: 1.2 and 1.3 are"),
    (
        "ALERT_HANDSHAKE_FAILURE",
        "the server broke off the TLS handshake: it wants a certificate (tls.cert), or has no cipher in common with us",
    ),
    ("NO_APPLICATION_PROTOCOL", "the server does not speak HTTP/1.1 over TLS"),
    ("WRONG_VERSION_NUMBER", "the server does not speak TLS here: is it http:// instead of https://?"),
    ("HTTP_REQUEST", "the server does not speak TLS here: is it http:// instead of https://?"),
    ("RECORD_LAYER_FAILURE", "the server does not speak TLS here: is it http:// instead of https://?"),
    ("UNEXPECTED_EOF", "the server hung up during TLS"),
)


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """Paths of PEM files, and a name; all may be empty. `key` may be in the file `cert`."""

    ca: str = ""
    cert: str = ""
    key: str = ""
    server_name: str = ""
    verify: bool = True


class TlsFilesError(Exception):
    """Files cannot be used. `problems` are (option, what is wrong)."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"tls.{option}: {what}" for option, what in problems))
        self.problems = problems


class Tls:
    """TLS to the server `host`. Its files are read when they are first needed, and again whenever they changed."""

    def __init__(self, options: TlsOptions, host: str) -> None:
        self._options = options
        self._host = host
        self._context: ssl.SSLContext | None = None
        self._stamps: list[tuple[int, ...]] = []

    def context(self) -> ssl.SSLContext:
        """The context for a new connection. Raises ConnectError where a file has become unusable."""
        stamps = list(self._look())
        if self._context is None or stamps != self._stamps:
            try:
                self._context = make_context(self._options)
            except TlsFilesError as error:
                raise ConnectError(Obstacle.TLS, str(error)) from error
            self._stamps = stamps
        return self._context

    def name_of(self, host: str) -> str:
        """The name to ask for, and that the certificate must have. `server_name` is for the session's server only."""
        own = self._options.server_name if host == self._host else ""
        return own or host.rstrip(".")

    def _look(self) -> Iterator[tuple[int, ...]]:
        for path in (self._options.ca, self._options.cert, self._options.key):
            if path:
                try:
                    found = Path(path).stat()
                except OSError:  # what is wrong is told when it is read
                    yield ()
                else:
                    yield found.st_ino, found.st_size, found.st_mtime_ns


class _NotingSslObject(ssl.SSLObject):
    """Keeps what a read failed with: picows does not tell.

    With TLS 1.3 a server looks at our certificate when the handshake is over for us. Costs nothing: this is
    what the base class does, and the exception is none of the usual ones.
    """

    failure: ssl.SSLError | None = None
    _sslobj: Any

    def read(self, len: int = 1024, buffer: Any = None) -> Any:  # noqa: A002  # the base's names
        try:
            return self._sslobj.read(len) if buffer is None else self._sslobj.read(len, buffer)
        except ssl.SSLError as error:
            if not isinstance(error, ssl.SSLWantReadError):
                self.failure = error
            raise


def make_context(options: TlsOptions) -> ssl.SSLContext:
    """Read the files. Raises TlsFilesError with everything that is wrong."""
    problems: list[Problem] = []
    ca = read_pem(options.ca, "ca", CERTIFICATE, problems)
    if options.cert:
        read_pair(options.cert, options.key, problems)
    if problems:
        raise TlsFilesError(list(dict.fromkeys(problems)))
    try:
        context = ssl.create_default_context(cadata=authorities(ca) if ca else None)
    except (ssl.SSLError, ValueError) as error:
        problem = f"{options.ca}: holds no usable certificate: {in_words(error)}"
        raise TlsFilesError([("ca", problem)]) from error
    if options.cert and (problems := load_pair(context, options.cert, options.key)):
        raise TlsFilesError(problems)
    if not options.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(_PROTOCOLS)
    context.sslobject_class = _NotingSslObject
    return context


def failure_of(transport: asyncio.BaseTransport) -> ssl.SSLError | None:
    """What reading from a connection failed with, where it was TLS that failed."""
    ssl_object = transport.get_extra_info("ssl_object")
    return ssl_object.failure if isinstance(ssl_object, _NotingSslObject) else None


def tls_failure(error: BaseException | None) -> ssl.SSLError | None:
    """What TLS failed with, among an exception and what led to it."""
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__
    return error


def explain_tls(error: ssl.SSLError, name: str) -> ConnectError:
    """Say in one sentence what is wrong, and what to do. `name` is what the certificate must have."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConnectError(Obstacle.TLS, f"the server's certificate {_about_certificate(error, name)}")
    reason = getattr(error, "reason", None) or ""
    for part, meaning in _REASONS:
        if part in reason:
            return ConnectError(Obstacle.TLS, meaning)
    return ConnectError(Obstacle.TLS, f"TLS failed: {in_words(error)}")


def _about_certificate(error: ssl.SSLCertVerificationError, name: str) -> str:
    code = error.verify_code
    if code == _EXPIRED:
        return "has expired: it has to be renewed there (or the clock here is wrong)"
    if code == _NOT_YET_VALID:
        return "is not valid yet: the clock here or there is wrong"
    if code in {_OTHER_HOST, _OTHER_ADDRESS}:
        return f"is not for {name}: set tls.server_name to a name that it is for, or correct the url"
    if code == _SELF_SIGNED:
        return "is self-signed, and not trusted here: set tls.ca to a file that holds it"
    if code in _UNKNOWN_AUTHORITY:
        return "is from an authority that is not trusted here: set tls.ca to the file of that authority"
    return f"is not accepted: {error.verify_message}"
