"""Who may connect, by address."""

import pytest

from sockjs_bridge.endpoints.allow_list import AllowList


@pytest.mark.parametrize(
    ("networks", "address", "may"),
    [
        (["192.0.2.0/24"], "192.0.2.255", True),
        (["192.0.2.0/24"], "192.0.3.0", False),
        (["192.0.2.1"], "192.0.2.1", True),
        (["192.0.2.1"], "192.0.2.2", False),
        (["192.0.2.1", "::1"], "::1", True),
        (["2001:db8::/32"], "2001:db8:1::1", True),
        (["2001:db8::/32"], "192.0.2.1", False),
        (["192.0.2.0/24"], "127.0.0.1", False),
        (["192.0.2.0/24"], "::1", False),
        (["0.0.0.0/0"], "::1", False),
        (["::/0"], "192.0.2.1", False),
        (["fe80::/10"], "fe80::1%eth0", True),
        (["192.0.2.0/24"], "::ffff:192.0.2.1", True),
        (["192.0.2.0/24"], "::ffff:192.0.3.1", False),
        (["::/0"], "::ffff:192.0.2.1", False),
        (["::ffff:192.0.2.0/120"], "192.0.2.1", True),
        (["::ffff:192.0.2.0/120"], "::ffff:192.0.2.1", True),
        (["::ffff:192.0.2.0/120"], "192.0.3.1", False),
    ],
)
def test_who_may_connect(networks: list[str], address: str, may: bool) -> None:
    assert AllowList(networks).allows(address) is may


def test_what_is_no_network() -> None:
    with pytest.raises(ValueError, match="host bits"):
        AllowList(["192.0.2.1/24"])
