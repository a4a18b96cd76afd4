"""docs/ledger.md is whole: every field that a line of the ledger may have is in it, and none that is not there."""

from __future__ import annotations

import re
from pathlib import Path

from fusion_assets.manifest import extra_fields
from fusion_assets.manifest.record import FIELDS, Status

TEXT = (Path(__file__).parents[2] / "docs" / "ledger.md").read_text()


def first_cells(heading: str) -> list[str]:
    """What stands in backticks in the first column of the table under a heading."""
    _, _, rest = TEXT.partition(f"## {heading}\n")
    section, _, _ = rest.partition("\n## ")
    return re.findall(r"^\| `(\w+)`", section, re.MULTILINE)


def test_every_field_of_the_ledger_is_explained_to_people() -> None:
    names = [value for name, value in vars(extra_fields).items() if name.endswith("_FIELD")]
    assert first_cells("The fields that every line has") == list(FIELDS)
    assert first_cells("The fields that a line may have beyond these") == names
    assert all(f"`{status.value}`" in TEXT for status in Status)
