from __future__ import annotations

from urllib.parse import quote_plus
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.s3_listing import parse_page

AWS = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


def page(*entries: str, truncated: bool = False, token: str = "", encoding: str = "", namespace: str = AWS) -> bytes:
    told = f"<NextContinuationToken>{escape(token)}</NextContinuationToken>" if token else ""
    kind = f"<EncodingType>{encoding}</EncodingType>" if encoding else ""
    return (
        f'<?xml version="1.0"?><ListBucketResult {namespace}>{kind}'
        f"<IsTruncated>{str(truncated).lower()}</IsTruncated>{told}{''.join(entries)}</ListBucketResult>"
    ).encode()


def entry(key: str, size: int = 7) -> str:
    return (
        f"<Contents><Key>{escape(key)}</Key><LastModified>2026-01-05T10:00:00.000Z</LastModified>"
        f"<ETag>&quot;e&quot;</ETag><Size>{size}</Size></Contents>"
    )


def test_what_is_listed_is_read_whole() -> None:
    read = parse_page(page(entry("s/a.xpd", 5 * 2**40), "<CommonPrefixes><Prefix>s/Scan1/</Prefix></CommonPrefixes>"))

    (listed,) = read.objects
    assert (listed.key, listed.size, listed.etag) == ("s/a.xpd", 5 * 2**40, '"e"')
    assert listed.modified.isoformat() == "2026-01-05T10:00:00+00:00"
    assert read.directories == ("s/Scan1/",)
    assert read.next_token == ""


def test_a_server_without_the_namespace_is_understood_too() -> None:
    assert parse_page(page(entry("a"), namespace="")).objects[0].key == "a"


def test_a_truncated_page_without_a_token_is_no_end_of_the_listing() -> None:
    with pytest.raises(ValueError, match="does not say where to go on"):
        parse_page(page(entry("a"), truncated=True))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>login</html>",
        b"<Error><Code>InternalError</Code></Error>",
        page(entry("a"))[:-30],
        page("<Contents><Size>1</Size></Contents>"),
        page("<Contents><Key>a</Key><Size>1</Size></Contents>"),
        page(entry("a").replace("7", "seven")),
    ],
)
def test_an_answer_that_is_no_listing_is_not_an_empty_bucket(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_page(body)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_keys_that_xml_cannot_hold_arrive_whole(key: str) -> None:
    assert parse_page(page(entry(quote_plus(key)), encoding="url")).objects[0].key == key


def test_percent_signs_of_a_server_that_does_not_encode_are_left_alone() -> None:
    assert parse_page(page(entry("100%25+a"))).objects[0].key == "100%25+a"
