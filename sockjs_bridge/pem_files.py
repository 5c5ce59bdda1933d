"""PEM files with certificates and private keys: reading them, and what is wrong with them, in words."""

import ssl
from pathlib import Path

CERTIFICATE = "certificate"
PRIVATE_KEY = "private key"
_MARKS = {CERTIFICATE: b"-----BEGIN CERTIFICATE-----", PRIVATE_KEY: b"PRIVATE KEY-----"}

Problem = tuple[str, str]
"""The option that names the file, such as `cert`, and what is wrong with it."""


class _EncryptedKeyError(Exception):
    pass


def read_pem(path: str, option: str, what: str, problems: list[Problem]) -> bytes:
    """The content of a file that has to hold `what`; empty where no path is given. Adds what is wrong."""
    if not path:
        return b""
    try:
        content = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        problems.append((option, f"{path}: {reason}"))
        return b""
    if _MARKS[what] not in content:
        problems.append((option, f"{path}: holds no {what} (PEM)"))
    return content


def read_pair(cert: str, key: str, problems: list[Problem]) -> bytes:
    """The contents of a certificate and of its key, which may be in one file. Adds what is wrong."""
    certificate = read_pem(cert, "cert", CERTIFICATE, problems)
    return certificate + b"\0" + read_pem(key or cert, "key" if key else "cert", PRIVATE_KEY, problems)


def load_pair(context: ssl.SSLContext, cert: str, key: str) -> list[Problem]:
    """Let a context show this certificate; returns what is wrong with it."""
    where, file = ("key", key) if key else ("cert", cert)
    try:
        context.load_cert_chain(cert, key or None, _ask_nobody)
    except _EncryptedKeyError:
        return [(where, f"{file}: the private key is encrypted: it has to be stored without a passphrase")]
    except (OSError, ValueError) as error:
        if "KEY_VALUES_MISMATCH" in str(error):
            return [(where, f"{file}: the private key does not belong to the certificate in {cert}")]
        return [("cert", f"{cert}: holds no usable certificate with a key: {in_words(error)}")]
    return []


def authorities(content: bytes) -> str:
    """The content of a file of authorities, as a context takes it: what stands between them may be anything."""
    return content.decode("ascii", "replace").replace("\ufffd", "?")


def in_words(error: Exception) -> str:
    """What OpenSSL says, without its underscores."""
    reason = getattr(error, "reason", None)
    return str(reason).replace("_", " ").lower() if reason else str(error)


def _ask_nobody() -> str:
    # Without this, OpenSSL would ask on the terminal.
    raise _EncryptedKeyError
