"""Names a storage keeps, and names that become one another."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.errors import UnsafeNameError
from resources.names import check_posix, check_windows, find_collisions

PLAIN = st.text(st.characters(codec="utf-8", exclude_characters='/\\:?*"<>|\0', exclude_categories=["Cc", "Cs"]))


@pytest.mark.parametrize(
    "name",
    [
        *[f"a{c}b" for c in ':?*"<>|\\\x01\x1f\n'],
        "trail.",
        "space ",
        "CON",
        "con",
        "aux.tif",
        "nul.txt",
        "COM1",
        "LPT9.x.y",
        "com¹.txt",
        "CON .txt",
        "d./file",
        "AUX/file",
        "n" * 256,
        "🔬" * 128,  # 256 UTF-16 units
        "\ud800",
    ],
)
def test_names_smb_refuses_or_mangles_are_named_before_anything_is_written(name: str) -> None:
    with pytest.raises(UnsafeNameError) as caught:
        check_windows(name, "smb://nas/share/x")
    assert "smb://nas/share/x" in str(caught.value)


@pytest.mark.parametrize(
    "name", ["", "Scan1/20260105_WW_HCC_run1.qptiff", ".temp/raw_1.dat", "CONTROL", "nul_1.tif", "com10", "a b", "研究"]
)
def test_ordinary_names_pass_everywhere(name: str) -> None:
    check_windows(name, name)
    check_posix(name, name)


def test_lengths_are_bytes_on_posix_and_utf16_units_on_windows() -> None:
    check_windows("研" * 200, "x")
    with pytest.raises(UnsafeNameError, match="600 bytes"):
        check_posix("研" * 200, "x")
    check_posix("研" * 85, "x")


@given(PLAIN)
def test_windows_rules_never_crash_and_decide_by_the_component(name: str) -> None:
    def fine(path: str) -> bool:
        try:
            check_windows(path, path)
        except UnsafeNameError:
            return False
        return True

    assert fine(f"Scan1/{name}") == (fine(name) and name != "")


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["Case.tif", "case.TIF", "other"], [("Case.tif", "case.TIF")]),
        (["Scan1/a", "scan1/b"], [("Scan1", "scan1")]),
        (["Scan1/a", "scan1/a"], [("Scan1", "scan1"), ("Scan1/a", "scan1/a")]),
        ([unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é")], [("e\u0301", "\xe9")]),
        (["straße", "STRASSE"], [("STRASSE", "straße")]),
        (["a/b", "a/c", "a"], []),
        ([], []),
    ],
)
def test_names_that_would_become_one_file_are_found(paths: list[str], expected: list[tuple[str, ...]]) -> None:
    assert find_collisions(paths) == expected


@given(st.lists(st.text(st.sampled_from("aAbBéÉß/"), min_size=1, max_size=6), max_size=12))
def test_collisions_are_exactly_the_equal_spellings(paths: list[str]) -> None:
    paths = ["/".join(part or "x" for part in path.split("/")) for path in paths]
    prefixes = {"/".join(p.split("/")[: i + 1]) for p in paths for i in range(p.count("/") + 1)}

    def fold(path: str) -> str:
        return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())

    groups = {fold(p): tuple(sorted(q for q in prefixes if fold(q) == fold(p))) for p in prefixes}
    assert find_collisions(paths) == sorted(group for group in groups.values() if len(group) > 1)
    assert find_collisions(reversed(paths)) == find_collisions(paths)
