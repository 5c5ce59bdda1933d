"""The files of a listener's TLS: what is wrong with them is told by key and file, all at once."""

import ssl
from pathlib import Path

import pytest

from sockjs_bridge.endpoints.server_tls import ServerTls, TlsFiles, certificate_name, explain
from sockjs_bridge.errors import BindError
from tests.openssl_authority import Authority, Certificate, encrypt_key


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def own(authority: Authority) -> Certificate:
    return authority.server()


def problems(cert: Path | str, key: Path | str = "", client_ca: Path | str = "") -> list[tuple[str, str]]:
    with pytest.raises(BindError) as caught:
        ServerTls(TlsFiles(str(cert), str(key), str(client_ca)))
    return list(caught.value.problems)


def test_what_is_asked_of_clients(authority: Authority, own: Certificate) -> None:
    without = ServerTls(TlsFiles(str(own.cert), str(own.key))).context
    with_ca = ServerTls(TlsFiles(str(own.cert), str(own.key), str(authority.cert))).context

    assert without.verify_mode is ssl.CERT_NONE
    assert with_ca.verify_mode is ssl.CERT_REQUIRED
    for context in (without, with_ca):
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
        assert context.options & ssl.OP_NO_RENEGOTIATION


def test_the_key_may_be_in_the_file_of_the_certificate(own: Certificate, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(own.cert.read_bytes() + own.key.read_bytes())

    assert ServerTls(TlsFiles(str(both))).context.cert_store_stats()["x509"] == 0


def test_all_that_is_missing(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    assert problems(gone, f"{gone}.key", tmp_path) == [
        ("tls.cert", f"{gone}: no such file or directory"),
        ("tls.key", f"{gone}.key: no such file or directory"),
        ("tls.client_ca", f"{tmp_path}: is a directory"),
    ]


def test_files_of_another_kind(own: Certificate, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("hello")
    assert problems(text, own.cert, own.key) == [
        ("tls.cert", f"{text}: holds no certificate (PEM)"),
        ("tls.key", f"{own.cert}: holds no private key (PEM)"),
        ("tls.client_ca", f"{own.key}: holds no certificate (PEM)"),
    ]
    assert problems(own.cert) == [("tls.cert", f"{own.cert}: holds no private key (PEM)")]


def test_a_key_of_another_certificate(authority: Authority, own: Certificate) -> None:
    other = authority.client("other")
    assert problems(own.cert, other.key) == [
        ("tls.key", f"{other.key}: the private key does not belong to the certificate in {own.cert}")
    ]


def test_damaged_files(own: Certificate, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.pem"
    damaged.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    (cert, ca) = problems(damaged, own.key, damaged)
    assert cert[0] == "tls.cert"
    assert cert[1].startswith(f"{damaged}: holds no usable certificate with a key: ")
    assert ca[0] == "tls.client_ca"
    assert ca[1].startswith(f"{damaged}: holds no usable certificate: ")


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked(own: Certificate, tmp_path: Path) -> None:
    encrypted = encrypt_key(own.key, tmp_path / "encrypted.key")
    assert problems(own.cert, encrypted) == [
        (
            "tls.key",
            f"{encrypted}: the private key is encrypted: it has to be stored without a passphrase",
        )
    ]


def test_reading_again_finds_what_has_changed(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    own = authority.server()
    tls = ServerTls(TlsFiles(str(own.cert), str(own.key)))
    before = tls.context
    assert tls.read_again() is None
    authority.server()
    newer = tls.read_again()
    assert newer is not None
    assert tls.context is before
    tls.adopt(newer)
    assert tls.context is newer.context
    assert tls.read_again() is None
    own.key.unlink()
    with pytest.raises(BindError, match="no such file"):
        tls.read_again()


@pytest.mark.parametrize(
    ("certificate", "name"),
    [
        (None, None),
        ({}, None),
        ({"subject": ((("organizationName", "O"),), (("commonName", "door 1"),))}, "door 1"),
        ({"subject": (), "subjectAltName": (("DNS", "door.example"),)}, "door.example"),
        ({"subject": (), "serialNumber": "0A"}, "serial 0A"),
    ],
)
def test_the_name_of_a_client(certificate: dict[str, object] | None, name: str | None) -> None:
    assert certificate_name(certificate) == name


def test_a_reason_that_nobody_foresaw_is_told_in_the_words_of_the_library() -> None:
    error = ssl.SSLError(1, "[SSL: SOME_NEW_THING] some new thing (_ssl.c:1)")
    error.reason = "SOME_NEW_THING"
    assert explain(error) == "some new thing"
