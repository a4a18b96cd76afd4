"""The image's XML is read as the instrument writes it, and refused where it could do harm."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion_assets.integrity.qpi import NAME_LIMIT, Description, DescriptionError, looks_like_xml, parse_description

BODY = "<PerkinElmer-QPI-ImageDescription>{}</PerkinElmer-QPI-ImageDescription>"
CHANNEL = BODY.format("<ImageType>FullResolution</ImageType><Biomarker>CD8</Biomarker>")
DECLARED = '<?xml version="1.0" encoding="utf-16"?>\r\n'


@pytest.mark.parametrize(
    "raw",
    [
        CHANNEL.encode(),
        (DECLARED + CHANNEL).encode(),
        (DECLARED + CHANNEL).encode() + b"\0",
        b"\xef\xbb\xbf" + (DECLARED + CHANNEL).encode(),
        (DECLARED + CHANNEL).encode("utf-16"),
        (DECLARED + CHANNEL).encode("utf-16") + b"\0",
        CHANNEL.replace("</ImageType>", "</ImageType><Name>20 µm</Name>").encode("cp1252"),
    ],
    ids=[
        "plain",
        "says UTF-16, is UTF-8",
        "closing NUL",
        "byte order mark",
        "really UTF-16",
        "UTF-16 and a NUL",
        "a µ of Windows",
    ],
)
def test_every_encoding_instruments_were_seen_with_is_read(raw):
    assert looks_like_xml(raw)
    assert parse_description(raw) == Description("FullResolution", "CD8")


def test_a_biomarker_with_signs_that_xml_escapes_keeps_its_name():
    raw = BODY.format("<Biomarker> HLA-DR&amp;β2M </Biomarker>").encode()
    assert parse_description(raw).biomarker == "HLA-DR&β2M"


def test_a_name_deep_in_the_scan_profile_is_not_taken_for_the_channel_s():
    raw = BODY.format("<ScanProfile><root><Biomarker>wrong</Biomarker></root></ScanProfile>").encode()
    assert parse_description(raw).biomarker == ""


@pytest.mark.parametrize(
    "document",
    [
        '<!DOCTYPE a [<!ENTITY b "boom"><!ENTITY c "&b;&b;&b;&b;">]><a><Biomarker>&c;</Biomarker></a>',
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a><Biomarker>&x;</Biomarker></a>',
        '<!DOCTYPE a SYSTEM "http://example.invalid/a.dtd"><a/>',
    ],
    ids=["entities in entities", "a file of ours", "a remote document"],
)
def test_entities_are_never_expanded(document):
    with pytest.raises(DescriptionError, match="document type"):
        parse_description(document.encode())


@pytest.mark.parametrize(
    "raw", [b"", b"\0\0", CHANNEL.encode()[:-20], b"{'shape': 1}", CHANNEL.encode() + bytes(9) + b"<"]
)
def test_a_description_cut_short_or_overwritten_is_named(raw):
    with pytest.raises(DescriptionError, match="not well-formed"):
        parse_description(raw)


def test_a_biomarker_of_a_megabyte_does_not_fill_the_memory():
    raw = BODY.format(f"<Biomarker>{'x' * 10**6}</Biomarker>").encode()
    assert len(parse_description(raw).biomarker) == NAME_LIMIT


@given(st.binary(max_size=400) | st.text(alphabet="<>/!?[]&;ab \"'=\0-", max_size=60).map(str.encode))
def test_no_bytes_make_it_raise_anything_else(raw):
    with suppress(DescriptionError):
        assert isinstance(parse_description(raw), Description)
