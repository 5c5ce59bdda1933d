"""TLS of listeners: the certificate to show, whose certificates to ask for, and what a failure means."""

import hashlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sockjs_bridge.errors import BindError

_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_PRIVATE_KEY = b"PRIVATE KEY-----"

# Parts of OpenSSL's names, and what they mean; the first that fits counts. An alert comes from the client.
_REASONS = (
    ("PEER_DID_NOT_RETURN_A_CERTIFICATE", "it has no certificate, and tls.client_ca asks for one"),
    ("HTTP_REQUEST", "it speaks HTTP without TLS"),
    ("HTTPS_PROXY_REQUEST", "it speaks HTTP without TLS"),
    ("WRONG_VERSION_NUMBER", "it does not speak TLS"),
    ("UNSUPPORTED_PROTOCOL", "it knows no version of TLS that is safe: 1.2 and 1.3 are"),
    ("NO_SHARED_CIPHER", "it has no cipher in common with us"),
    ("ALERT_UNKNOWN_CA", "it does not trust the authority of our certificate (tls.cert)"),
    ("ALERT_CERTIFICATE_EXPIRED", "it does not accept our certificate (tls.cert): it has expired"),
    ("ALERT_BAD_CERTIFICATE", "it does not accept our certificate (tls.cert)"),
    ("ALERT_CERTIFICATE_UNKNOWN", "it does not accept our certificate (tls.cert)"),
)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths of PEM files. `key` may be in the file `cert`; with `client_ca` a client needs a certificate."""

    cert: str
    key: str = ""
    client_ca: str = ""


class ServerTls:
    """TLS of all listeners with the same files. `context` is for the next connection."""

    def __init__(self, files: TlsFiles) -> None:
        """Read the files. Raises BindError with everything that is wrong, by keys such as `tls.cert`."""
        self._files = files
        self.context, self.digest = _read(files)

    def read_again(self) -> "ServerTls | None":
        """Read the files anew: None where nothing in them has changed. Raises BindError as at first."""
        found = ServerTls(self._files)
        return None if found.digest == self.digest else found

    def adopt(self, newer: "ServerTls") -> None:
        """Let new connections have what `newer` has read; those that there are keep what they began with."""
        self.context, self.digest = newer.context, newer.digest


def explain(error: ssl.SSLError) -> str:
    """Say why there can be no TLS with a client, as the end of a sentence that begins elsewhere."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    reason = error.reason or ""
    for part, meaning in _REASONS:
        if part in reason:
            return meaning
    return _words(error)


def certificate_name(certificate: Mapping[str, Any] | None) -> str | None:
    """The name of a client by its certificate: the common name of its subject, or what there is in its place."""
    if not certificate:
        return None
    subject = [pair for part in certificate.get("subject", ()) for pair in part]
    names = [value for key, value in subject if key == "commonName"]
    names += [value for _, value in certificate.get("subjectAltName", ())]
    return str(names[0]) if names else f"serial {certificate.get('serialNumber')}"


def _read(files: TlsFiles) -> tuple[ssl.SSLContext, bytes]:
    problems: list[tuple[str, str]] = []
    contents = [
        _read_pem(files.cert, "tls.cert", _CERTIFICATE, "certificate", problems),
        _read_pem(
            files.key or files.cert, "tls.key" if files.key else "tls.cert", _PRIVATE_KEY, "key", problems
        ),
        _read_pem(files.client_ca, "tls.client_ca", _CERTIFICATE, "certificate", problems),
    ]
    context = _new_context()
    wrong = {key for key, _ in problems}
    if not wrong & {"tls.cert", "tls.key"}:
        problems += _load_own(context, files)
    if files.client_ca and "tls.client_ca" not in wrong:
        problems += _load_authorities(context, files.client_ca, contents[2])
    if problems:
        raise BindError(list(dict.fromkeys(problems)))
    return context, hashlib.sha256(b"\0".join(contents)).digest()


def _new_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    # A program that only writes never reads the tickets of TLS 1.3: its close would be a reset, which can
    # destroy what it wrote last. Connections that stay gain nothing from tickets.
    context.num_tickets = 0
    return context


def _read_pem(path: str, key: str, mark: bytes, what: str, problems: list[tuple[str, str]]) -> bytes:
    if not path:
        return b""
    try:
        content = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        problems.append((key, f"{path}: {reason.lower()}"))
        return b""
    if mark not in content:
        problems.append((key, f"{path}: holds no {what} (PEM)"))
    return content


class _EncryptedKeyError(Exception):
    pass


def _ask_nobody() -> str:
    # Without this, OpenSSL would ask on the terminal.
    raise _EncryptedKeyError


def _load_own(context: ssl.SSLContext, files: TlsFiles) -> list[tuple[str, str]]:
    where, key = ("tls.key", files.key) if files.key else ("tls.cert", files.cert)
    try:
        context.load_cert_chain(files.cert, files.key or None, _ask_nobody)
    except _EncryptedKeyError:
        return [(where, f"{key}: the private key is encrypted: it has to be stored without a passphrase")]
    except (OSError, ValueError) as error:
        if "KEY_VALUES_MISMATCH" in str(error):
            return [(where, f"{key}: the private key does not belong to the certificate in {files.cert}")]
        return [("tls.cert", f"{files.cert}: holds no usable certificate with a key: {_words(error)}")]
    return []


def _load_authorities(context: ssl.SSLContext, path: str, content: bytes) -> list[tuple[str, str]]:
    try:
        # PEM is ASCII; what stands between the certificates may be anything.
        context.load_verify_locations(cadata=content.decode("ascii", "replace").replace("\ufffd", "?"))
    except (ssl.SSLError, ValueError) as error:
        return [("tls.client_ca", f"{path}: holds no usable certificate: {_words(error)}")]
    context.verify_mode = ssl.CERT_REQUIRED
    # An authority in the file is trusted as it is, also where its own one is not in there.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return []


def _words(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    return str(reason).replace("_", " ").lower() if reason else str(error)
