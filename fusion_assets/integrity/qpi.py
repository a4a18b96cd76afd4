"""The ImageDescription a PhenoCycler-Fusion writes on every page: XML that says it is UTF-16 and is UTF-8.

What belongs here: getting image type and biomarker out of that XML, safely. What does not: TIFF. StudyName,
OperatorName and Barcode are in it too and are left there: they are close to persons and patients.
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.parsers import expat

NAME_LIMIT = 200  # characters kept of any one value; real biomarkers have a dozen
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_CHILD_DEPTH = 2  # the values are direct children of the root; the scan profile has a Name of its own further down


class DescriptionError(Exception):
    """The description is not the XML it should be; the message says where."""


@dataclass(frozen=True, slots=True)
class Description:
    """What a page says of itself.

    Attributes:
        image_type: FullResolution, ReducedResolution, Thumbnail, Overview, Label; empty if it does not say.
        biomarker: What its channel shows, e.g. ``CD8``; empty for pages that are no channel.
    """

    image_type: str = ""
    biomarker: str = ""


def looks_like_xml(raw: bytes) -> bool:
    """Whether a description means to be XML; other programs write other things there."""
    return raw.startswith(_UTF16_MARKS) or raw.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<")


def parse_description(raw: bytes) -> Description:
    """Read the XML of one page.

    Args:
        raw: The value of the ImageDescription tag, with or without its closing NULs.

    Raises:
        DescriptionError: It is not well-formed, or has a DTD: entities are how XML is made to explode.
    """
    parser, wanted = _parser_into()
    try:
        parser.Parse(_as_utf8(raw), True)  # noqa: FBT003 - expat takes it by position only
    except expat.ExpatError as error:
        raise DescriptionError(f"not well-formed XML ({error})") from error
    return Description(image_type=wanted["ImageType"].strip(), biomarker=wanted["Biomarker"].strip())


def _as_utf8(raw: bytes) -> bytes:
    """Clean UTF-8. A stray byte (a µ from a Windows code page) is no damage; a description cut short still is."""
    if raw.startswith(_UTF16_MARKS):
        even = len(raw) - len(raw) % 2  # the tag's closing NUL is one byte, in UTF-16 half a character
        return raw[:even].decode("utf-16", errors="replace").rstrip("\0").encode()
    return raw.decode("utf-8-sig", errors="replace").rstrip("\0").lstrip().encode()


def _parser_into() -> tuple[expat.XMLParserType, dict[str, str]]:
    wanted = {"ImageType": "", "Biomarker": ""}
    open_elements: list[str] = []

    def start(name: str, _attributes: dict[str, str]) -> None:
        open_elements.append(name)

    def end(_name: str) -> None:
        open_elements.pop()

    def text(data: str) -> None:
        if len(open_elements) == _CHILD_DEPTH and open_elements[-1] in wanted:
            name = open_elements[-1]
            wanted[name] = (wanted[name] + data)[:NAME_LIMIT]

    def refuse(*_declaration: object) -> None:
        raise DescriptionError("it declares a document type, which no instrument writes")

    parser = expat.ParserCreate("utf-8")  # overrides the encoding the document claims
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = refuse
    return parser, wanted
