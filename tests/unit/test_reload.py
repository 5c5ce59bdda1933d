"""What a new configuration changes, without a daemon."""

from pathlib import Path

import pytest

from sockjs_bridge.config import Config, load
from sockjs_bridge.local_sockets import listeners_of
from sockjs_bridge.reload import ListenerChanges, Plan, make_plan, without_listeners

BASE = """
[sessions.chat]
url = "http://h/echo"
[[sessions.chat.tcp]]
listen = "9000"
[[sessions.chat.tcp]]
listen = "9001"
framing = "json"
[[sessions.chat.zmq]]
type = "pub"
endpoint = "tcp://127.0.0.1:9002"
[sessions.prices]
url = "http://h/prices"
"""


def config(text: str, tmp_path: Path) -> Config:
    file = tmp_path / "bridge.toml"
    file.write_text(text)
    return load(file, {})


@pytest.fixture
def before(tmp_path: Path) -> Config:
    return config(BASE, tmp_path)


def plan(before: Config, text: str, tmp_path: Path) -> Plan:
    return make_plan(before, before.sessions, config(text, tmp_path))


def test_the_same_file_changes_nothing(before: Config, tmp_path: Path) -> None:
    assert plan(before, BASE, tmp_path) == Plan()


def test_comments_and_order_of_keys_change_nothing(before: Config, tmp_path: Path) -> None:
    text = BASE.replace(
        'url = "http://h/prices"', '# dear\nqueue.max_messages = 10000\nurl = "http://h/prices"'
    )
    assert plan(before, text, tmp_path) == Plan()


def test_sessions_come_and_go(before: Config, tmp_path: Path) -> None:
    changes = plan(before, BASE.replace("sessions.prices", "sessions.news"), tmp_path)
    assert (changes.added, changes.removed, changes.upstream) == (["news"], ["prices"], [])
    assert changes.lines == ["session prices: removed", "session news: added"]


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('headers = { A = "b" }', "headers"),
        ("ping_interval = 5", "ping_interval"),
        ('reconnect.max = "1m"', "reconnect"),
        ('transports = ["xhr-polling"]', "transports"),
    ],
)
def test_what_concerns_the_server_makes_that_session_connect_anew(
    before: Config, line: str, key: str, tmp_path: Path
) -> None:
    changes = plan(
        before, BASE.replace('url = "http://h/prices"', f'url = "http://h/prices"\n{line}'), tmp_path
    )
    assert (changes.upstream, changes.listeners) == (["prices"], {})
    assert changes.lines == [f"session prices: connects anew ({key} changed)"]


EACH = """
[sessions.each]
url = "http://h/echo"
[[sessions.each.tcp]]
listen = "9000"
mode = "dedicated"
"""


@pytest.mark.parametrize(
    ("old", "new", "lines", "is_new"),
    [
        (
            EACH,
            EACH.replace("/echo", "/other"),
            ["url changed; dedicated clients that are connected go on as they began"],
            True,
        ),
        (
            EACH,
            EACH.replace('"dedicated"', '"shared"'),
            ["has a shared session now", "tcp 127.0.0.1:9000 changed"],
            True,
        ),
        (
            EACH.replace('"dedicated"', '"shared"').replace("/echo", "/other"),
            EACH,
            ["url changed", "tcp 127.0.0.1:9000 changed"],
            True,
        ),
        (
            EACH,
            EACH + '[[sessions.each.tcp]]\nlisten = "9001"\n',
            ["has a shared session now", "tcp 127.0.0.1:9001 added"],
            True,
        ),
        (
            EACH + '[[sessions.each.tcp]]\nlisten = "9001"\n',
            EACH.replace("/echo", "/other") + '[[sessions.each.tcp]]\nlisten = "9001"\n',
            ["connects anew (url changed); dedicated clients that are connected go on as they began"],
            True,
        ),
        (
            EACH,
            EACH + '[[sessions.each.tcp]]\nlisten = "9001"\nmode = "dedicated"\n',
            ["tcp 127.0.0.1:9001 added"],
            False,
        ),
        (EACH, EACH.replace("[[", "queue.max_messages = 5\n[["), ["queue limits changed"], False),
    ],
)
def test_clients_with_a_session_each(
    old: str, new: str, lines: list[str], is_new: bool, tmp_path: Path
) -> None:
    changes = plan(config(old, tmp_path), new, tmp_path)
    assert changes.lines == [f"session each: {line}" for line in lines]
    assert changes.upstream == (["each"] if is_new else [])


def test_defaults_reach_the_sessions(before: Config, tmp_path: Path) -> None:
    changes = plan(before, f"[defaults]\ninfo = false\n{BASE}", tmp_path)
    assert changes.upstream == ["chat", "prices"]


def test_the_bounds_of_the_queue_change_without_a_new_connection(before: Config, tmp_path: Path) -> None:
    text = BASE.replace('url = "http://h/prices"', 'url = "http://h/prices"\nqueue.max_messages = 5')
    changes = plan(before, text, tmp_path)
    assert changes.upstream == []
    assert changes.lines == ["session prices: queue limits changed"]


def test_a_changed_listener_leaves_the_others_and_the_server_alone(before: Config, tmp_path: Path) -> None:
    changes = plan(before, BASE.replace('framing = "json"', 'framing = "nul"'), tmp_path)
    assert changes.upstream == []
    assert changes.listeners == {"chat": ListenerChanges([(0, True), (1, False), (2, True)], [])}
    assert changes.lines == ["session chat: tcp 127.0.0.1:9001 changed"]


def test_listeners_are_known_by_their_address_and_not_by_their_place(before: Config, tmp_path: Path) -> None:
    text = BASE.replace('[[sessions.chat.tcp]]\nlisten = "9000"\n', "")
    changes = plan(before, f'{text}[[sessions.chat.tcp]]\nlisten = "9005"\n', tmp_path)
    assert changes.listeners == {"chat": ListenerChanges([(1, True), (None, False), (2, True)], [0])}
    assert changes.lines == [
        "session chat: tcp 127.0.0.1:9000 removed",
        "session chat: tcp 127.0.0.1:9005 added",
    ]
    assert changes.listeners["chat"].keeps(1)
    assert not changes.listeners["chat"].keeps(0)


def test_a_zeromq_socket_of_another_type_at_the_same_address_is_another_one(
    before: Config, tmp_path: Path
) -> None:
    changes = plan(before, BASE.replace('type = "pub"', 'type = "push"'), tmp_path)
    assert changes.listeners["chat"].fates[2] == (None, False)
    assert changes.listeners["chat"].gone == [2]


def test_a_listener_that_was_lost_is_opened_by_the_next_reload(before: Config, tmp_path: Path) -> None:
    running = dict(before.sessions)
    running["chat"] = without_listeners(before.sessions["chat"], {1, 2})
    assert [place for place, _ in listeners_of(running["chat"])] == ["tcp[0]"]
    changes = make_plan(before, running, config(BASE, tmp_path))
    assert changes.listeners["chat"].fates == [(0, True), (None, False), (None, False)]


@pytest.mark.parametrize(
    "table", ["[bridge]\ndrain_timeout = 1", '[log]\nlevel = "debug"', '[admin]\nlisten = "9180"']
)
def test_tables_of_the_process_are_told(before: Config, table: str, tmp_path: Path) -> None:
    changes = plan(before, f"{table}\n{BASE}", tmp_path)
    name = table[1 : table.index("]")]
    assert changes == Plan(lines=[f"{name}: changed"])
