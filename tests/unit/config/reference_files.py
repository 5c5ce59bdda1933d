"""Where the reference of the configuration stands: config/bridge.toml, and a part of the README.

`make reference` runs this file, which writes both.
"""

from pathlib import Path

from sockjs_bridge.config.reference import example_toml, option_tables

_PROJECT = Path(__file__).resolve().parents[3]
CONFIG = _PROJECT / "config"
EXAMPLE = CONFIG / "bridge.toml"
README = _PROJECT / "README.md"
_BEGIN = "<!-- written by `make reference` -->\n"
_END = "<!-- end of what `make reference` writes -->\n"


def section(readme: str) -> str:
    """Return the part of the README that is generated."""
    return readme.partition(_BEGIN)[2].partition(_END)[0]


def main() -> None:
    """Write the example and the README."""
    readme = README.read_text(encoding="utf-8")
    before, begin, rest = readme.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    assert begin, f"no line {_BEGIN.strip()} in {README}"
    assert end, f"no line {_END.strip()} in {README}"
    README.write_text(before + begin + option_tables() + end + after, encoding="utf-8")
    EXAMPLE.write_text(example_toml(), encoding="utf-8")
    print(f"{README.name} and {EXAMPLE.parent.name}/{EXAMPLE.name} are written")


if __name__ == "__main__":
    main()
