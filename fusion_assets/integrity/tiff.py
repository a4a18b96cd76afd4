"""D2: is this (Big)TIFF whole? Judged from its index and a few bytes of its pixels, in 4-64 KiB pieces.

What belongs here: walking the pages and naming what is wrong with the file. What does not: opening files, and what a
finding means for a study (`structure`).

Opening a file with a TIFF library proves nothing: a file cut in half opens silently, often with its full shape. So
every page of the chain is visited, every tag value and every tile or strip must lie inside the file, their number must
fit the geometry, the description must parse, and sampled segments must not be zeros. A bit flipped inside the pixels
is not found: only a hash finds that. Whatever the bytes are, the answer is a list of problems, never an exception, at
the cost of at most `BUDGET` bytes. Only the reader's own errors pass through: what cannot be read is unknown, not
broken.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain

from fusion_assets.integrity.directory import (
    Dialect,
    Directory,
    DirectoryError,
    read_directory,
    read_header,
    read_integers,
)
from fusion_assets.integrity.pieces import BudgetSpentError, PastEndError, PieceReader
from fusion_assets.integrity.qpi import Description, DescriptionError, looks_like_xml, parse_description
from fusion_assets.integrity.segments import (
    UNCOMPRESSED,
    Geometry,
    Segment,
    check_segments,
    hole_in,
    read_geometry,
    sample_shares,
)
from resources.storage import Reader

# Real index of 290 pages with 475,787 tiles: 7 MB. Thirty times that is a bigger slide than any stage holds.
BUDGET = 256 * 1024 * 1024
MAX_PAGES = 10_000
MAX_SEGMENTS = 16_000_000  # of all pages, 34 times that slide; counting so many takes 1.3 s
MAX_PROBLEMS = 20
DESCRIPTION_LIMIT = 4 * 1024 * 1024

_DESCRIPTION, _SUB_DIRECTORIES = 270, 330
_FULL_RESOLUTION = "FullResolution"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a file.

    Attributes:
        message: What.
        page: Which page, counted from 1; None if it concerns the whole file.
        offset: Where in the file, in bytes; None where that says nothing.
    """

    message: str
    page: int | None = None
    offset: int | None = None

    def __str__(self) -> str:
        return self.message if self.page is None else f"page {self.page}: {self.message}"


@dataclass(frozen=True, slots=True)
class Page:
    """One page of the main chain, as far as it could be read.

    Attributes:
        number: Counted from 1.
        offset: Of its directory, in bytes.
        geometry: None if it could not be read.
        image_type: FullResolution, ReducedResolution, Thumbnail, Overview or Label; empty if it does not say.
        biomarker: What its channel shows; empty for pages that are no channel.
    """

    number: int
    offset: int
    geometry: Geometry | None
    image_type: str
    biomarker: str


@dataclass(frozen=True, slots=True)
class TiffReport:
    """What was found, and what finding it cost.

    Attributes:
        problems: At most `MAX_PROBLEMS` and a last one that says how many more there are; empty: the file is whole.
        pages: The main chain.
        bytes_read: Bytes read from the file.
        requests: Reads made.
        sample_requests: Those of them spent on pixels; the others read the index.
    """

    problems: tuple[Problem, ...]
    pages: tuple[Page, ...]
    bytes_read: int
    requests: int
    sample_requests: int

    @property
    def biomarkers(self) -> tuple[str, ...]:
        """The channels, in the order of their full-resolution pages."""
        full = (page.biomarker for page in self.pages if page.image_type == _FULL_RESOLUTION)
        return tuple(dict.fromkeys(biomarker for biomarker in full if biomarker))


@dataclass(slots=True)
class _Walk:
    """One file being checked."""

    pieces: PieceReader
    problems: list[Problem] = field(default_factory=list)
    pages: list[Page] = field(default_factory=list)
    samples: list[tuple[int, Geometry, list[Segment]]] = field(default_factory=list)
    seen: dict[int, int] = field(default_factory=dict)
    segments: int = 0
    index_requests: int = 0

    def note(self, message: str, page: int | None, offset: int | None = None) -> None:
        self.problems.append(Problem(message, page, offset))


def check_tiff(reader: Reader, size: int) -> TiffReport:
    """Check one open image.

    Args:
        reader: The open file.
        size: Its length in bytes, asked of the open file: a listing may be stale.

    Returns:
        The problems, the pages, the channels' biomarkers, and the cost.

    Raises:
        ResourceError: Only what `reader` raises.
    """
    walk = _Walk(PieceReader(reader, size, budget=BUDGET))
    try:
        try:
            _walk_chain(walk)
        finally:
            walk.index_requests = walk.pieces.requests
        _sample(walk)
    except DirectoryError as error:
        walk.note(str(error), None, error.offset)
    except (PastEndError, BudgetSpentError) as error:
        walk.note(str(error), None)
    problems = walk.problems[:MAX_PROBLEMS]
    if len(walk.problems) > MAX_PROBLEMS:
        problems.append(Problem(f"and {len(walk.problems) - MAX_PROBLEMS:,} problems more"))
    return TiffReport(
        problems=tuple(problems),
        pages=tuple(walk.pages),
        bytes_read=walk.pieces.bytes_read,
        requests=walk.pieces.requests,
        sample_requests=walk.pieces.requests - walk.index_requests,
    )


def _walk_chain(walk: _Walk) -> None:
    """Visit every page, until the chain ends or can be followed no further."""
    dialect, offset = read_header(walk.pieces)
    if offset == 0:
        raise DirectoryError("the header points to no page: the file was never finished", 0)
    while offset:
        number = len(walk.pages) + 1
        directory = _visit(walk, dialect, offset, number, "this page and those after it are lost")
        if directory is None:
            return
        walk.pages.append(_check_page(walk, dialect, directory, number))
        _check_sub_directories(walk, dialect, directory, number)
        offset = directory.next_offset


def _visit(walk: _Walk, dialect: Dialect, offset: int, number: int, loss: str) -> Directory | None:
    """The directory at `offset`; None, with the problem noted, if it is none or was visited before."""
    if not _is_new(walk, offset, number):
        return None
    try:
        return read_directory(walk.pieces, dialect, offset)
    except DirectoryError as error:
        walk.note(f"{error}; {loss}", number, error.offset)
    except PastEndError:
        where = f"at {offset:,}, the file has {walk.pieces.size:,} bytes"
        walk.note(f"its directory is not all inside the file ({where}); {loss}", number, offset)
    return None


def _is_new(walk: _Walk, offset: int, number: int) -> bool:
    if offset in walk.seen:
        walk.note(f"the chain of pages runs in a circle, back to page {walk.seen[offset]}", number, offset)
        return False
    if len(walk.seen) >= MAX_PAGES:
        walk.note(f"more than {MAX_PAGES:,} pages, which no image has", number, offset)
        return False
    walk.seen[offset] = number
    return True


def _check_page(walk: _Walk, dialect: Dialect, directory: Directory, number: int) -> Page:
    description = _describe(walk, directory, number)
    geometry = _check_pixels(walk, dialect, directory, number)
    return Page(number, directory.offset, geometry, description.image_type, description.biomarker)


def _describe(walk: _Walk, directory: Directory, number: int) -> Description:
    """The page's description. The first page must have one; others may have none, or another program's."""
    tag = directory.tags.get(_DESCRIPTION)
    if tag is None:
        if number == 1 and not directory.problems:
            walk.note("it has no ImageDescription, so it names no channels", number, directory.offset)
        return Description()
    if tag.size > DESCRIPTION_LIMIT:
        walk.note(f"its description has {tag.size:,} bytes, no instrument writes that much", number, tag.offset)
        return Description()
    raw = walk.pieces.read(tag.offset, tag.size)
    if number > 1 and not looks_like_xml(raw):
        return Description()
    try:
        return parse_description(raw)
    except DescriptionError as error:
        walk.note(f"its description cannot be read: {error}", number, tag.offset)
        return Description()


def _check_pixels(walk: _Walk, dialect: Dialect, directory: Directory, number: int) -> Geometry | None:
    """Geometry and extents; the segments worth sampling are kept for `_sample`."""
    for problem in directory.problems:
        walk.note(problem, number, directory.offset)
    if directory.problems:
        return None
    try:
        geometry = read_geometry(walk.pieces, dialect, directory)
        walk.segments += geometry.segments
        if walk.segments > MAX_SEGMENTS:
            raise BudgetSpentError(f"its pages need {walk.segments:,} tiles or strips, more than any real image's")
        candidates, problem = check_segments(walk.pieces, dialect, directory, geometry)
    except DirectoryError as error:
        walk.note(str(error), number, error.offset)
        return None
    if problem:
        walk.note(problem, number, directory.offset)
    else:
        walk.samples.append((number, geometry, candidates))
    return geometry


def _check_sub_directories(walk: _Walk, dialect: Dialect, directory: Directory, number: int) -> None:
    """The pyramids other programs hang below a page; the instrument itself writes none."""
    waiting = [directory]
    while waiting:
        tag = waiting.pop().tags.get(_SUB_DIRECTORIES)
        if tag is None:
            continue
        for offset in chain.from_iterable(read_integers(walk.pieces, dialect, tag)):
            child = _visit(walk, dialect, offset, number, "its sub-images are lost")
            if child is None:
                return
            _check_pixels(walk, dialect, child, number)
            waiting.append(child)


def _sample(walk: _Walk) -> None:
    """Read a few bytes of a few segments of every page whose segments are where they should be."""
    shares = sample_shares([geometry.segments for _, geometry, _ in walk.samples])
    for (number, geometry, candidates), share in zip(walk.samples, shares, strict=True):
        hole = hole_in(walk.pieces, geometry, candidates, share)
        if hole is not None:
            offset, length = hole
            what = "holds only zeros" if geometry.compression == UNCOMPRESSED else "begins with zeros"
            message = f"its data at {offset:,}-{offset + length:,} {what} where pixels belong: a hole in the file"
            walk.note(message, number, offset)
