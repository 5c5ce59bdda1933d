"""Files of TLS, and the words for what goes wrong."""

import os
import ssl
import subprocess
from pathlib import Path

import pytest

from sockjs_bridge.errors import ConnectError, Obstacle
from sockjs_bridge.transports.tls import (
    Tls,
    TlsFilesError,
    TlsOptions,
    explain_tls,
    make_context,
    tls_failure,
)
from tests.certificates import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def problems(**options: object) -> list[tuple[str, str]]:
    with pytest.raises(TlsFilesError) as caught:
        make_context(TlsOptions(**{name: str(value) for name, value in options.items()}))  # type: ignore[arg-type]  # all of these are str
    return caught.value.problems


def test_a_context_verifies_speaks_no_old_tls_and_names_its_protocol(authority: Authority) -> None:
    context = make_context(TlsOptions(ca=str(authority.file)))
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert len(context.get_ca_certs()) == 1, "the system's are not trusted too"


def test_without_verification_nothing_is_checked() -> None:
    context = make_context(TlsOptions(verify=False))
    assert context.verify_mode is ssl.CERT_NONE
    assert not context.check_hostname


def test_a_file_may_hold_certificate_and_key(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue()
    both = tmp_path / "both.pem"
    both.write_bytes(pair.key.read_bytes() + pair.cert.read_bytes())
    make_context(TlsOptions(cert=str(both)))


def test_every_file_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    a, b, c = (tmp_path / name for name in "abc")
    assert problems(ca=a, cert=b, key=c) == [
        ("ca", f"{a}: no such file or directory"),
        ("cert", f"{b}: no such file or directory"),
        ("key", f"{c}: no such file or directory"),
    ]


def test_one_file_for_both_is_told_once(tmp_path: Path) -> None:
    assert problems(cert=tmp_path / "a") == [("cert", f"{tmp_path / 'a'}: no such file or directory")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read(authority: Authority) -> None:
    authority.file.chmod(0)
    assert problems(ca=authority.file) == [("ca", f"{authority.file}: permission denied")]


def test_files_that_hold_something_else(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue()
    assert problems(ca=pair.key) == [("ca", f"{pair.key}: holds no certificate (PEM)")]
    assert problems(cert=pair.cert) == [("cert", f"{pair.cert}: holds no private key (PEM)")]
    assert problems(cert=pair.key, key=pair.cert) == [
        ("cert", f"{pair.key}: holds no certificate (PEM)"),
        ("key", f"{pair.cert}: holds no private key (PEM)"),
    ]
    assert problems(ca=tmp_path) == [("ca", f"{tmp_path}: is a directory")]


def test_a_key_of_another_certificate(authority: Authority) -> None:
    one, other = authority.issue(), authority.issue()
    sentence = f"{other.key}: the private key does not belong to the certificate in {one.cert}"
    assert problems(cert=one.cert, key=other.key) == [("key", sentence)]


def test_an_encrypted_key_asks_nobody(authority: Authority, tmp_path: Path) -> None:
    pair, encrypted = authority.issue(), tmp_path / "encrypted.key"
    command = ["openssl", "pkey", "-in", pair.key, "-aes128", "-passout", "pass:hunter2", "-out", encrypted]
    subprocess.run(list(map(str, command)), check=True)
    sentence = f"{encrypted}: the private key is encrypted: it has to be stored without a passphrase"
    assert problems(cert=pair.cert, key=encrypted) == [("key", sentence)]


@pytest.mark.parametrize("option", ["ca", "cert"])
def test_a_certificate_that_is_garbage(option: str, authority: Authority, tmp_path: Path) -> None:
    file = tmp_path / "garbage.pem"
    file.write_text(
        "-----BEGIN CERTIFICATE-----\nZ2FyYmFnZQ==\n-----END CERTIFICATE-----\n", encoding="ascii"
    )
    more = {"key": authority.issue().key} if option == "cert" else {}
    ((where, sentence),) = problems(**{option: file}, **more)
    assert where == option
    assert sentence.startswith(f"{file}: holds no usable certificate")


def test_files_are_read_again_only_when_they_change(authority: Authority, tmp_path: Path) -> None:
    tls = Tls(TlsOptions(ca=str(authority.file)), "h.example")
    first = tls.context()
    assert tls.context() is first
    authority.file.write_bytes(Authority(tmp_path, "other").file.read_bytes() + authority.file.read_bytes())
    second = tls.context()
    assert second is not first
    assert len(second.get_ca_certs()) == 2
    authority.file.unlink()
    with pytest.raises(ConnectError, match=r"^tls\.ca: .*: no such file or directory$") as caught:
        tls.context()
    assert caught.value.obstacle is Obstacle.TLS


def test_the_server_name_is_for_the_host_of_the_session_only() -> None:
    tls = Tls(TlsOptions(server_name="name.example"), "h.example")
    assert tls.name_of("h.example") == "name.example"
    assert tls.name_of("login.example") == "login.example"
    assert tls.name_of("dotted.example.") == "dotted.example"


REASONS = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the server wants a certificate from us: set tls.cert and tls.key",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "our certificate (tls.cert): it has expired",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "our certificate (tls.cert): it is revoked",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not trust the authority",
    "SSLV3_ALERT_BAD_CERTIFICATE": "does not accept our certificate",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "it is of a wrong kind",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "does not accept our certificate",
    "TLSV1_ALERT_ACCESS_DENIED": "does not let us in",
    "TLSV1_UNRECOGNIZED_NAME": "set tls.server_name",
    "TLSV1_ALERT_PROTOCOL_VERSION": "1.2 and 1.3 are",
    "UNSUPPORTED_PROTOCOL": "1.2 and 1.3 are",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "it wants a certificate (tls.cert), or has no cipher in common",
    "TLSV1_ALERT_NO_APPLICATION_PROTOCOL": "does not speak HTTP/1.1",
    "WRONG_VERSION_NUMBER": "is it http:// instead of https://?",
    "HTTP_REQUEST": "is it http:// instead of https://?",
    "RECORD_LAYER_FAILURE": "is it http:// instead of https://?",
    "UNEXPECTED_EOF_WHILE_READING": "the server hung up during TLS",
    "SOMETHING_NEW": "TLS failed: something new",
}


@pytest.mark.parametrize("reason", REASONS)
def test_reasons(reason: str) -> None:
    error = ssl.SSLError(1, f"[SSL: {reason}]")
    error.reason = reason
    explained = explain_tls(error, "h.example")
    assert explained.obstacle is Obstacle.TLS
    assert REASONS[reason] in explained.detail


def test_a_reason_that_has_no_name() -> None:
    assert explain_tls(ssl.SSLError(1, "odd"), "h").detail.startswith("TLS failed: ")


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (10, "has expired"),
        (9, "is not valid yet"),
        (62, "is not for h.example: set tls.server_name"),
        (64, "is not for h.example: set tls.server_name"),
        (18, "is self-signed, and not trusted here"),
        (19, "is from an authority that is not trusted here"),
        (20, "is from an authority that is not trusted here"),
        (21, "is from an authority that is not trusted here"),
        (23, "is not accepted: certificate revoked"),
    ],
)
def test_verification(code: int, sentence: str) -> None:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, "certificate revoked"
    assert explain_tls(error, "h.example").detail.startswith(f"the server's certificate {sentence}")


def test_a_failure_is_found_behind_what_it_led_to() -> None:
    cause, outer = ssl.SSLError(1, "odd"), OSError("lost")
    outer.__cause__ = cause
    assert tls_failure(outer) is cause
    assert tls_failure(OSError("lost")) is None
