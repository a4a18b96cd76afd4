"""Errors in words: whatever is raised, somebody reads a sentence."""

from __future__ import annotations

import pytest

from resources.errors import described


@pytest.mark.parametrize("error", [TimeoutError(), ConnectionResetError(""), AssertionError(), OSError(), KeyError()])
def test_an_error_without_a_text_is_told_by_its_kind(error: Exception) -> None:
    assert described(error) == type(error).__name__


def test_an_error_with_a_text_is_told_by_it() -> None:
    assert described(OSError(5, "Input/output error")) == "[Errno 5] Input/output error"
