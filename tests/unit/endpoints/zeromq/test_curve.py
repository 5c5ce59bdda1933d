"""Files with CURVE keys: written for their owner alone, read without showing what is in them."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq
import zmq.auth

from sockjs_bridge.endpoints.zeromq.curve import is_readable_by_others, read_secret_key, write_key_pair


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "bridge.key"


@pytest.fixture(params=[0o022, 0o000, 0o777], ids=oct)
def umask(request: pytest.FixtureRequest, file: Path) -> Iterator[None]:
    previous = os.umask(request.param)
    yield
    os.umask(previous)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and all that a traceback shows above it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


# --- writing ----------------------------------------------------------------------------------------------


def test_a_key_pair_is_a_pair(file: Path) -> None:
    public = write_key_pair(str(file))
    secret = read_secret_key(str(file))
    assert zmq.curve_public(secret) == public.encode()
    assert file.read_bytes() == secret + b"\n"
    assert len(public) == len(secret) == 40


@pytest.mark.usefixtures("umask")
def test_only_its_owner_can_read_a_new_key_whatever_the_umask_is(file: Path) -> None:
    write_key_pair(str(file))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not is_readable_by_others(str(file))


def test_every_pair_is_another(tmp_path: Path) -> None:
    assert write_key_pair(str(tmp_path / "one")) != write_key_pair(str(tmp_path / "other"))


@pytest.mark.parametrize("content", [b"a key that is in use", b""], ids=["a key", "empty"])
def test_a_file_is_never_overwritten(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    file.chmod(0o640)
    with pytest.raises(FileExistsError):
        write_key_pair(str(file))
    assert file.read_bytes() == content
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_the_target_of_a_symlink_is_never_overwritten(file: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"precious")
    file.symlink_to(target)
    with pytest.raises(FileExistsError):
        write_key_pair(str(file))
    assert target.read_bytes() == b"precious"
    assert file.is_symlink()


def test_a_symlink_that_leads_nowhere_is_not_followed(file: Path, tmp_path: Path) -> None:
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        write_key_pair(str(file))
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_that_is_missing_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_key_pair(str(tmp_path / "missing" / "bridge.key"))


# --- reading ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"  \n\n"], ids=repr)
def test_a_bare_key_is_read_with_and_without_a_newline(file: Path, end: bytes) -> None:
    _, secret = zmq.curve_keypair()
    file.write_bytes(secret + end)
    assert read_secret_key(str(file)) == secret


def test_a_bare_key_may_hold_equals_signs(file: Path) -> None:
    secret = b"ab=cd=ef=g" * 4
    file.write_bytes(secret + b"\n")
    assert read_secret_key(str(file)) == secret


def test_a_certificate_of_pyzmq_is_read(tmp_path: Path) -> None:
    _, secret_file = zmq.auth.create_certificates(tmp_path, "bridge", {"name": "x"})
    _, secret = zmq.auth.load_certificate(secret_file)
    assert read_secret_key(str(secret_file)) == secret


@pytest.mark.parametrize(
    "line",
    ['    secret-key = "{}"', "secret-key={}", "\tsecret-key\t=\t'{}'\t"],
    ids=["czmq", "bare", "tabs"],
)
def test_a_certificate_may_be_laid_out_in_other_ways(file: Path, line: str) -> None:
    public, secret = (key.decode() for key in zmq.curve_keypair())
    file.write_text(f'# made by hand\ncurve\n    public-key = "{public}"\n{line.format(secret)}\n')
    assert read_secret_key(str(file)) == secret.encode()


def test_a_public_certificate_holds_no_secret_key(tmp_path: Path) -> None:
    public_file, _ = zmq.auth.create_certificates(tmp_path, "bridge")
    with pytest.raises(ValueError, match="holds no CURVE secret key"):
        read_secret_key(str(public_file))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\n\n", id="blank"),
        pytest.param(b"hunter2", id="too short"),
        pytest.param(b"hunter2." * 5 + b"x", id="too long"),
        pytest.param(b"hunter2 " * 4 + b"hunter2x", id="blanks inside"),
        pytest.param(b'"hunter2' * 5, id="no Z85"),
        pytest.param(b"\xffhunter2" * 5, id="bytes"),
        pytest.param(b"hunter2\0" * 5, id="NUL"),
        pytest.param(b'secret-key = "hunter2"', id="a short key in a certificate"),
        pytest.param(b"secret-key =", id="no key in a certificate"),
        pytest.param(b"hunter2\n" * 50_000, id="a large file"),
    ],
)
def test_anything_else_is_a_value_error_that_does_not_show_what_is_in_the_file(
    file: Path, content: bytes
) -> None:
    file.write_bytes(content)
    with pytest.raises(ValueError, match="holds no CURVE secret key: 40 characters of Z85") as caught:
        read_secret_key(str(file))
    assert all("hunter2" not in f"{error} {error!r}" for error in causes(caught.value))


def test_a_missing_file_is_an_os_error(file: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_secret_key(str(file))


def test_a_folder_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        read_secret_key(str(tmp_path))


@pytest.mark.parametrize(
    ("mode", "expected"),
    [(0o600, False), (0o400, False), (0o700, False), (0o640, True), (0o604, True), (0o644, True)],
    ids=lambda value: oct(value) if type(value) is int else None,
)
def test_a_key_is_open_where_its_group_or_others_can_read_it(file: Path, mode: int, expected: bool) -> None:
    file.touch()
    file.chmod(mode)
    assert is_readable_by_others(str(file)) is expected


def test_a_symlink_is_as_open_as_its_target(file: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    write_key_pair(str(target))
    file.symlink_to(target)
    assert not is_readable_by_others(str(file))
