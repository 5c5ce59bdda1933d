"""What is wrong with a configuration."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from sockjs_bridge.config.tree import Loc


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong: where, and a text that reads on after the key path.

    `also` names the other values that it depends on.
    """

    loc: Loc
    text: str
    also: tuple[Loc, ...] = ()

    @property
    def locs(self) -> tuple[Loc, ...]:
        """Every location that has a part in it."""
        return (self.loc, *self.also)


def closest(word: str, candidates: Iterable[str], prefix: str = "") -> str:
    """` (did you mean "..."?)` with the candidate most like the word, or nothing."""
    by_lower = {candidate.lower(): candidate for candidate in candidates}
    found = get_close_matches(word.lower(), by_lower, n=1)
    return f' (did you mean "{prefix}{by_lower[found[0]]}"?)' if found else ""
