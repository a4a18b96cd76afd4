"""What a structure check says: the shape of a finding, the same as a naming violation's.

What belongs here: the plain data the checks return. What does not: deciding anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fusion_assets.standard.report import printable

CheckId = Literal["D1", "D2", "D3", "D4", "D5"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with one path.

    Attributes:
        rule: Which check found it: D1 design file, D2 image, D3 channels, D4 marker list, D5 unfinished run.
        path: Relative to the directory the study is in, so it begins with the study's name, as a violation's does.
        message: What is wrong.
        hint: What to do about it.
    """

    rule: CheckId
    path: str
    message: str
    hint: str

    def __str__(self) -> str:
        return printable(f"[{self.rule}] {self.path}: {self.message} | hint: {self.hint}")
