"""The sidecar: what `sha256sum -c` reads, and nothing that could be read in two ways."""

from __future__ import annotations

import hashlib
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion_assets.standard.listing import SIDECAR_NAME
from fusion_assets.transfer.sidecar import SidecarError, format_sidecar, parse_sidecar

DIGEST = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), min_size=1, max_size=20)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
DIGESTS = st.binary(min_size=32, max_size=32).map(bytes.hex)


@given(st.dictionaries(PATHS, DIGESTS))
def test_whatever_is_written_is_read_back(checksums):
    checksums.pop(SIDECAR_NAME, None)
    assert parse_sidecar(format_sidecar(checksums)) == checksums


@given(st.dictionaries(st.from_regex(r"[a-zA-Z0-9._ -]{1,20}", fullmatch=True), DIGESTS, min_size=1))
def test_lines_are_digest_two_spaces_path_sorted_and_end_in_lf(checksums):
    text = format_sidecar(checksums).decode()
    assert text == "".join(f"{checksums[path]}  {path}\n" for path in sorted(checksums))


def test_the_sidecar_does_not_list_itself():
    assert parse_sidecar(format_sidecar({SIDECAR_NAME: DIGEST, "a": DIGEST})) == {"a": DIGEST}


def test_coreutils_and_we_agree_on_odd_names(tmp_path):
    names = ["a b", "  lead", "trail ", "back\\slash", "line\nbreak", "re\rturn", "µ", "-n", "*star", "\\n", "a\\"]
    for name in names:
        (tmp_path / name).write_text(name)
    checksums = {name: hashlib.sha256(name.encode()).hexdigest() for name in names}
    (tmp_path / SIDECAR_NAME).write_bytes(format_sidecar(checksums))
    subprocess.run(["sha256sum", "--check", "--strict", SIDECAR_NAME], cwd=tmp_path, check=True)
    theirs = subprocess.run(["sha256sum", "--", *names], cwd=tmp_path, check=True, capture_output=True).stdout
    assert parse_sidecar(theirs) == checksums


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"abc  file\n", "line 1"),
        (DIGEST.encode() + b" file\n", "line 1"),
        (DIGEST.encode() + b"  \n", "line 1"),
        (f"{DIGEST}  a\n{DIGEST[:-1]}  b\n".encode(), "line 2"),
        (f"\\{DIGEST}  a\\x\n".encode(), "escape"),
        (f"\\{DIGEST}  a\\".encode(), "escape"),
        (f"{DIGEST}  a\n{'0' * 64}  a\n".encode(), "twice"),
        (b"\xff\xfe", "UTF-8"),
    ],
)
def test_a_damaged_sidecar_is_an_error_that_names_the_line(data, complaint):
    with pytest.raises(SidecarError, match=complaint):
        parse_sidecar(data)


def test_a_sidecar_of_windows_or_of_binary_mode_is_read():
    assert parse_sidecar(f"{DIGEST.upper()} *a\r\n".encode()) == {"a": DIGEST}


def test_an_empty_sidecar_is_that_of_an_empty_study():
    assert parse_sidecar(b"") == {}
    assert format_sidecar({}) == b""
