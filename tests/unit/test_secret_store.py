"""Where secrets are read, and how they are kept out of what is shown (config.md)."""

import html
import json
import os
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from sockjs_bridge.errors import SecretError
from sockjs_bridge.secret_store import MASK, SecretStore

HOSTILE = 'p"a\\s<s&w\n\u00e9%/=ord'


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"secret", "secret"),
        (b"secret\n", "secret"),
        (b"secret\r\n", "secret"),
        (b"secret\n\n", "secret\n"),
        (b"secret\r", "secret\r"),
        (b"\nsecret ", "\nsecret "),
        (b"", ""),
        ("\u00e9".encode(), "\u00e9"),
        (b"x" * 65_536, "x" * 65_536),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_a_file_is_read_without_its_last_line_break(tmp_path: Path, content: bytes, value: str) -> None:
    (tmp_path / "file").write_bytes(content)
    secrets = SecretStore({"CREDENTIALS_DIRECTORY": str(tmp_path)})

    assert secrets.read("file", str(tmp_path / "file")) == value
    assert secrets.read("credential", "file") == value


def test_a_variable_is_taken_as_it_is() -> None:
    assert SecretStore({"A": " x\n"}).read("env", "A") == " x\n"
    assert SecretStore({"A": ""}).read("env", "A") == ""


def test_a_file_is_read_anew_each_time(tmp_path: Path) -> None:
    file = tmp_path / "file"
    secrets = SecretStore({})
    file.write_text("first")
    assert secrets.read("file", str(file)) == "first"
    file.write_text("second")
    assert secrets.read("file", str(file)) == "second"
    assert secrets.mask("first second third") == f"{MASK} {MASK} third"


@pytest.mark.parametrize(
    ("kind", "name", "problem"),
    [
        ("env", "B", "is not set in the environment"),
        ("env", "BROKEN", "is not UTF-8"),
        ("file", "{folder}/nowhere", "cannot be read: no such file or directory"),
        ("file", "{folder}", "cannot be read: is a directory"),
        ("file", "{folder}/fifo", "is not a regular file"),
        ("file", "{folder}/large", "is larger than 64 KiB"),
        ("file", "{folder}/broken", "is not UTF-8"),
        ("file", "a\0b", "cannot be read: no path"),
        ("credential", "nowhere", "cannot be read: no such file or directory"),
        ("credential", "../x", "must be the name of a credential, without a folder"),
        ("credential", "..", "must be the name of a credential, without a folder"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, kind: str, name: str, problem: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "large").write_bytes(b"hunter2 " * 8193)
    (tmp_path / "broken").write_bytes(b"hunter2 \xff")
    secrets = SecretStore({"CREDENTIALS_DIRECTORY": str(tmp_path), "BROKEN": "hunter2 \udcff"})

    with pytest.raises(SecretError) as caught:
        secrets.read(kind, name.format(folder=tmp_path))

    assert str(caught.value) == problem


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path: Path) -> None:
    (tmp_path / "file").touch(mode=0o000)

    with pytest.raises(SecretError, match="cannot be read: permission denied"):
        SecretStore({}).read("file", str(tmp_path / "file"))


def test_credentials_need_a_folder() -> None:
    with pytest.raises(SecretError, match="CREDENTIALS_DIRECTORY is not set"):
        SecretStore({}).read("credential", "a")


@pytest.mark.parametrize("value", ["hunter2", HOSTILE, "\u20ac\u20ac\u20ac\u20ac", "\ud800 lone", "'quote'd"])
@pytest.mark.parametrize(
    "shown",
    [
        str,
        json.dumps,
        lambda value: json.dumps(value, ensure_ascii=False),
        lambda value: json.dumps(json.dumps(value)),
        lambda value: json.dumps(json.dumps(json.dumps(value))),
        repr,
        lambda value: repr(json.dumps([json.dumps({"a": value})]).encode(errors="replace")),
        lambda value: str([f'a["{value}"]'.encode(errors="replace")]),
        lambda value: quote(value, safe="", errors="replace"),
        lambda value: quote_plus(value, errors="replace"),
        html.escape,
    ],
    ids=range(11),
)
def test_a_known_value_is_masked_in_whatever_way_it_is_written(value: str, shown: object) -> None:
    secrets = SecretStore({})
    secrets.remember(value)
    assert callable(shown)
    text = shown(value)

    masked = secrets.mask(f"before {text} after")

    assert masked.startswith("before ")
    assert masked.endswith(" after")
    assert MASK in masked
    assert text.strip("\"'[]b\\a") not in masked


def test_lines_of_a_value_and_values_in_one_another() -> None:
    secrets = SecretStore({})
    secrets.remember("-----BEGIN-----\nMIIabc\nab\n-----END-----")
    secrets.remember("token")
    secrets.remember("token-and-more")

    assert secrets.mask("MIIabc ab token-and-more token") == f"{MASK} ab {MASK} {MASK}"


def test_short_values_are_left_and_words_of_json_too() -> None:
    secrets = SecretStore({"A": "abc"})
    secrets.read("env", "A")
    secrets.remember_captured(["true", "null", "12", "4711"])

    assert secrets.mask("abc true null 12 4711") == f"abc true null 12 {MASK}"


def test_captured_values_of_many_logins_do_not_pile_up() -> None:
    secrets = SecretStore({})
    secrets.remember("the configured one")
    secrets.remember_captured(f"value-{number:06}" for number in range(10_000))

    assert len(secrets._captured) == 4000
    assert secrets.mask("value-009999 value-000000") == f"{MASK} value-000000"
    assert secrets.mask("the configured one") == MASK
