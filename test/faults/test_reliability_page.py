"""docs/reliability.md names the fault tests that exist, and no others."""

from __future__ import annotations

import re
from pathlib import Path

# What the page need not name: the check that the fault tests rest on, and this file.
NO_FAULTS = {"test_a_forecast_from_other_frames_would_be_noticed"}


def test_every_fault_test_is_on_the_page_and_every_named_test_exists(project_root: Path) -> None:
    page = (project_root / "docs" / "reliability.md").read_text()
    named = re.findall(r"^\|.*`(test_\w+)` \|$", page, re.MULTILINE)
    here = Path(__file__)
    files = [file for file in here.parent.glob("test_*.py") if file != here]
    existing = {n for f in files for n in re.findall(r"^def (test_\w+)", f.read_text(), re.M)}
    assert len(named) == len(set(named)) > 20
    assert set(named) == existing - NO_FAULTS
    assert existing >= NO_FAULTS
