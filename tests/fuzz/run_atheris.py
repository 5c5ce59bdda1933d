"""Run one fuzz target under atheris, which is guided by coverage. It is optional, and in no lock:

    pip install atheris
    python -m tests.fuzz.run_atheris frame -max_total_time=300

What follows the name goes to libFuzzer. A failure writes its input to `crash-...`; the line that names it is the bug.
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["sockjs_bridge"]):
    from tests.fuzz.targets import SEEDS, TARGETS


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(
            f"usage: python -m tests.fuzz.run_atheris TARGET [LIBFUZZER OPTIONS]\ntargets: {', '.join(TARGETS)}"
        )
    name = sys.argv.pop(1)
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(SEEDS):
            (Path(corpus) / str(number)).write_bytes(seed)
        atheris.Setup([*sys.argv, corpus], TARGETS[name])
        atheris.Fuzz()


if __name__ == "__main__":
    main()
