"""TLS of listeners: the certificate to show, whose certificates to ask for, and what a failure means."""

import hashlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sockjs_bridge.errors import BindError
from sockjs_bridge.pem_files import (
    CERTIFICATE,
    Problem,
    authorities,
    in_words,
    load_pair,
    read_pair,
    read_pem,
)

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
    return in_words(error)


def certificate_name(certificate: Mapping[str, Any] | None) -> str | None:
    """The name of a client by its certificate: the common name of its subject, or what there is in its place."""
    if not certificate:
        return None
    subject = [pair for part in certificate.get("subject", ()) for pair in part]
    names = [value for key, value in subject if key == "commonName"]
    names += [value for _, value in certificate.get("subjectAltName", ())]
    return str(names[0]) if names else f"serial {certificate.get('serialNumber')}"


def _read(files: TlsFiles) -> tuple[ssl.SSLContext, bytes]:
    problems: list[Problem] = []
    pair = read_pair(files.cert, files.key, problems)
    authority = read_pem(files.client_ca, "client_ca", CERTIFICATE, problems)
    context = _new_context()
    wrong = {option for option, _ in problems}
    if not wrong & {"cert", "key"}:
        problems += load_pair(context, files.cert, files.key)
    if files.client_ca and "client_ca" not in wrong:
        problems += _load_authorities(context, files.client_ca, authority)
    if problems:
        raise BindError([(f"tls.{option}", what) for option, what in dict.fromkeys(problems)])
    return context, hashlib.sha256(pair + b"\0" + authority).digest()


def _new_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    # A program that only writes never reads the tickets of TLS 1.3: its close would be a reset, which can
    # destroy what it wrote last. Connections that stay gain nothing from tickets.
    context.num_tickets = 0
    return context


def _load_authorities(context: ssl.SSLContext, path: str, content: bytes) -> list[Problem]:
    try:
        context.load_verify_locations(cadata=authorities(content))
    except (ssl.SSLError, ValueError) as error:
        return [("client_ca", f"{path}: holds no usable certificate: {in_words(error)}")]
    context.verify_mode = ssl.CERT_REQUIRED
    # An authority in the file is trusted as it is, also where its own one is not in there.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return []
