"""Reads what a test wants to know of a Dockerfile: its instructions, stage by stage."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction: its keyword, its options (`--from=build`), and the rest as it is written."""

    keyword: str
    options: tuple[str, ...]
    text: str

    @property
    def exec_form(self) -> list[str]:
        """The command as a list. Raises ValueError or TypeError where it is for a shell."""
        command: Any = json.loads(self.text)
        if not isinstance(command, list):
            raise TypeError(f"{self.text} is no list")
        return command

    @property
    def pairs(self) -> dict[str, str]:
        """What ENV and LABEL set."""
        return dict(word.split("=", 1) for word in shlex.split(self.text))


def stages(dockerfile: Path) -> list[list[Instruction]]:
    """Return the instructions of each stage, FROM first. What stands before the first FROM is left out."""
    found: list[list[Instruction]] = []
    for line in _logical_lines(dockerfile.read_text(encoding="utf-8")):
        keyword, *words = line.split()
        options = tuple(word for word in words if word.startswith("--")) if keyword != "RUN" else ()
        text = " ".join(word for word in words if word not in options)
        if keyword == "FROM":
            found.append([])
        if found:
            found[-1].append(Instruction(keyword, options, text))
    return found


def only(stage: list[Instruction], keyword: str) -> Instruction:
    """Return the one instruction of this kind."""
    (found,) = (each for each in stage if each.keyword == keyword)
    return found


def _logical_lines(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return "\n".join(lines).replace("\\\n", " ").splitlines()
