"""A certificate authority for a test, and what it gives out."""

import datetime as dt
import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme

_DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class Pair:
    """Files of a certificate and its private key."""

    cert: Path
    key: Path

    def context(
        self, *, client_ca: Path | None = None, newest: ssl.TLSVersion | None = None
    ) -> ssl.SSLContext:
        """What a server takes; with `client_ca` it wants a certificate of that authority from clients."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert, self.key)
        if client_ca is not None:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        if newest is not None:
            context.maximum_version = newest
        return context


class Authority:
    """A CA whose files are in `folder`. Several in one folder need names."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder = folder
        self._ca = trustme.CA()
        self._name = name
        self._count = 0
        self.file = folder / f"{name}.pem"
        """The certificate of the authority, for `tls.ca`."""
        self._ca.cert_pem.write_to_path(str(self.file))

    def issue(self, *names: str, valid_from: int = -1, valid_to: int = 1) -> Pair:
        """A certificate for names or addresses (default: 127.0.0.1), valid between days that count from now."""
        now = dt.datetime.now(dt.UTC)
        issued = self._ca.issue_cert(
            *(names or ("127.0.0.1",)), not_before=now + valid_from * _DAY, not_after=now + valid_to * _DAY
        )
        self._count += 1
        stem = self._folder / f"{self._name}-{self._count}"
        pair = Pair(stem.with_suffix(".crt"), stem.with_suffix(".key"))
        issued.private_key_pem.write_to_path(str(pair.key))
        pair.cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        return pair
