"""Tables in Markdown."""

from __future__ import annotations

from dino_foresight_ros.render.markdown import number, table


def test_numbers_have_their_unit_and_nothing_is_a_dash() -> None:
    assert number(1.499, ".2f", "s") == "1.50 s"
    assert number(0.374, ".0%") == "37 %"
    assert number(3.0, "d") == "3"
    assert number(float("nan"), ".1f", "m/s") == "-"


def test_a_table_has_as_many_cells_in_each_line() -> None:
    lines = table(["a", "b"], [["x", "1"], ["y", "2"]]).split("\n")
    assert lines == ["| a | b |", "| :-- | --: |", "| x | 1 |", "| y | 2 |"]
