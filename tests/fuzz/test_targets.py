"""Every fuzz target over its seeds and some thousands of mutations of them, the same ones at every run."""

import random

import pytest

from tests.fuzz.targets import SEEDS, TARGETS

ROUNDS = 1500
LONG_ROUNDS = 150_000
LONGEST = 4096


def mutated(draw: random.Random, data: bytes) -> bytes:
    """Some bytes changed, removed, repeated, or taken from another seed."""
    result = bytearray(data)
    for _ in range(draw.randint(1, 6)):
        place = draw.randint(0, len(result))
        match draw.randrange(5):
            case 0 if place < len(result):
                result[place] = draw.randrange(256)
            case 1:
                del result[place : place + draw.randint(1, 8)]
            case 2:
                result[place:place] = result[place : place + draw.randint(1, 64)] * draw.randint(1, 8)
            case 3:
                other = draw.choice(SEEDS)
                begin = draw.randint(0, len(other))
                result[place:place] = other[begin : begin + draw.randint(1, 32)]
            case _:
                result[place:place] = draw.choice(
                    [b"\n", b"\r\n", b'"', b"\\", b"[", b"]", b"%25", b"\\ud83d", b"9" * 20]
                )
    return bytes(result[:LONGEST])


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", TARGETS)
def test_target_holds_for_mutations_of_the_seeds(name: str, is_long: bool) -> None:
    target = TARGETS[name]
    for seed in SEEDS:
        target(seed)
    draw = random.Random(name)
    known = list(SEEDS)
    for _ in range(LONG_ROUNDS if is_long else ROUNDS):
        data = mutated(draw, draw.choice(known))
        try:
            target(data)
        except Exception as error:
            raise AssertionError(f"{name} does not hold for {data!r}") from error
        if len(known) < 500:
            known.append(data)
