"""A design is read as the Experiment Designer writes it; everything else gets a clause that says what is wrong."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion_assets.integrity.xpd import Design, read_design

NAME = "20260105_WW_HCC_run1"


def design(**changes):
    items = [{"markerName": "DAPI"}, {"markerName": "CD8"}, {"markerName": "--"}, {"markerName": "CD8 "}]
    content = {"formatVersion": "2", "name": NAME, "wells": [{"wellName": "A1", "items": items}]} | changes
    return json.dumps(content).encode()


@pytest.mark.parametrize(
    "encode", [bytes, lambda raw: b"\xef\xbb\xbf" + raw, lambda raw: raw.decode().encode("utf-16")]
)
def test_a_sound_design_gives_its_markers_once_without_empty_slots(encode):
    assert read_design(encode(design()), NAME) == Design(NAME, ("DAPI", "CD8"), ())


@pytest.mark.parametrize(
    ("raw", "clause"),
    [
        (b"", "is empty"),
        (bytes(4096), "holds only zeros"),
        (design()[:-30], "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"9" * 10_000, "is not JSON"),
        (b"\xff\xfe\xfd", "is not JSON"),
        (b"[]", "not a design"),
        (design(name="other"), "calls itself 'other', the file is called"),
        (design(name=None), "does not say its name"),
        (design(wells=None), "no list of wells"),
        (design(wells=[]), "names no marker"),
        (design(wells=[{"items": [{"markerName": "--"}]}]), "names no marker"),
        (design(wells=[{"items": [{"markerName": ""}, {"markerName": "CD8"}]}]), "1 items without a marker name"),
    ],
)
def test_what_is_wrong_with_a_design_is_said(raw, clause):
    problems = read_design(raw, NAME).problems
    assert any(clause in problem for problem in problems), problems


def test_a_design_copied_from_another_experiment_still_gives_its_markers():
    found = read_design(design(name="other"), NAME)
    assert found.markers == ("DAPI", "CD8")
    assert len(found.problems) == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["name", "wells", "items", "markerName", "x"]), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(JSON.map(lambda content: json.dumps(content).encode()) | st.binary(max_size=60))
def test_no_content_makes_it_raise_and_none_passes_without_a_marker(raw):
    found = read_design(raw, NAME)
    assert found.problems or (found.name == NAME and found.markers)
    assert all(marker and marker != "--" for marker in found.markers)
