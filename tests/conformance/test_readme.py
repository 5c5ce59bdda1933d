"""The table in the README is the one that the matrix has: its cells, versions, checks and notes."""

from tests.conformance import test_matrix
from tests.conformance.matrix import CELLS, CHECKS, NOTES, README, Cell, claims, render, section


def test_the_readme_shows_the_matrix_as_it_is() -> None:
    written = section(README.read_text(encoding="utf-8"))
    results = claims(written)
    assert set(results) == {(cell, check) for cell in CELLS for check in CHECKS}
    assert written == render(results), "run `make matrix`"


def test_each_check_is_a_test() -> None:
    assert {f"test_{check}" for check in CHECKS} == {
        name for name in dir(test_matrix) if name.startswith("test_")
    }


def test_each_note_is_about_cells_that_there_are() -> None:
    for note in NOTES:
        cells = {Cell(transport, server) for transport, servers in note.where.items() for server in servers}
        assert cells
        assert cells <= set(CELLS)
        assert note.check in CHECKS
