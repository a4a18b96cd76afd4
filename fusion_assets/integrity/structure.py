"""D1-D5 over a whole study: its designs and images opened and judged, its scans looked through.

What belongs here: which files are opened, and what a finding means for the study. What does not: the judging of one
file (`tiff`, `xpd`). A file that cannot be opened or read raises: unknown is not broken.

Raw and intermediate images are not opened: what their versions contain is not published, and a wrong guess would stop
every study. They are copied and hashed like any other file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fusion_assets.integrity.findings import CheckId, Finding
from fusion_assets.integrity.scans import MARKER_LIST, Scan, find_scans, is_final_image, is_in_temp
from fusion_assets.integrity.tiff import Page, TiffReport, check_tiff
from fusion_assets.integrity.xpd import SIZE_LIMIT, Design, read_design
from fusion_assets.standard.names import has_extension, split_extension
from resources.storage import Entry, Storage

_BROKEN_IMAGE = (
    "open it in a viewer and compare with the instrument; scan or export it again, or bring it back from a copy that "
    "is whole. It is not archived as long as it is broken"
)
_LISTED_MARKERS = 8


@dataclass(frozen=True, slots=True)
class StructureReport:
    """What the structure checks found in a study, and what it cost.

    Attributes:
        blocking: Broken images (D2): the pipeline stops.
        warnings: Everything else (D1, D3, D4, D5): it goes on, a person should look.
        images: How many images were checked.
        designs: How many ``.xpd``.
        pages: Pages of all images together.
        bytes_read: Bytes read from the storage.
        requests: Reads made; a design counts as one.
    """

    blocking: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()
    images: int = 0
    designs: int = 0
    pages: int = 0
    bytes_read: int = 0
    requests: int = 0

    @property
    def ok(self) -> bool:
        """Whether the pipeline may go on."""
        return not self.blocking


def check_structure(storage: Storage, study: str, entries: Sequence[Entry]) -> StructureReport:
    """Check the content of a study's images and designs.

    Args:
        storage: Where it is.
        study: Its directory, relative to the storage's root.
        entries: Its listing, paths relative to the study.

    Returns:
        All findings, sorted by path.

    Raises:
        ResourceError: A file could not be opened or read (`HeldOpenError`, `UnavailableError`, `NotFoundError` for one
            that has gone since the listing …). Nothing is known about the study then.
    """
    scans = find_scans(entries)
    designs = {entry.path: _open_design(storage, study, entry) for entry in _designs(entries)}
    images = {entry.path: _open_image(storage, study, entry) for entry in _images(entries)}
    findings = [
        *_design_findings(study, designs),
        *_image_findings(study, images),
        *_channel_findings(study, scans, designs, images),
        *_scan_findings(study, scans),
    ]
    findings.sort(key=lambda finding: (finding.path, finding.rule))
    read = [entry.size for entry in _designs(entries) if entry.size <= SIZE_LIMIT]
    return StructureReport(
        blocking=tuple(finding for finding in findings if finding.rule == "D2"),
        warnings=tuple(finding for finding in findings if finding.rule != "D2"),
        images=len(images),
        designs=len(designs),
        pages=sum(len(report.pages) for report in images.values()),
        bytes_read=sum(report.bytes_read for report in images.values()) + sum(read),
        requests=sum(report.requests for report in images.values()) + len(read),
    )


def _designs(entries: Sequence[Entry]) -> Iterator[Entry]:
    """The designs: ``.xpd`` files at the study's top."""
    return (e for e in entries if e.kind == "file" and "/" not in e.path and has_extension(e.name, ".xpd"))


def _images(entries: Sequence[Entry]) -> Iterator[Entry]:
    """The final images, wherever they are but in a ``.temp``."""
    return (e for e in entries if e.kind == "file" and is_final_image(e.name) and not is_in_temp(e.path))


def _open_design(storage: Storage, study: str, entry: Entry) -> Design:
    if entry.size > SIZE_LIMIT:
        return Design(problems=(f"has {entry.size:,} bytes; a design has a few thousand",))
    return read_design(storage.read_file(_below(study, entry.path)), split_extension(entry.name)[0])


def _open_image(storage: Storage, study: str, entry: Entry) -> TiffReport:
    with storage.open_reader(_below(study, entry.path)) as reader:
        return check_tiff(reader, reader.stat().size)


def _below(study: str, path: str) -> str:
    return f"{study}/{path}" if study else path


def _finding(rule: CheckId, study: str, path: str, message: str, hint: str) -> Finding:
    return Finding(rule, _below(study, path), message, hint)


def _design_findings(study: str, designs: dict[str, Design]) -> Iterator[Finding]:
    hint = "export the design from the Experiment Designer again, under its experiment's name"
    for path, design in designs.items():
        for problem in design.problems:
            yield _finding("D1", study, path, problem, hint)


def _image_findings(study: str, images: dict[str, TiffReport]) -> Iterator[Finding]:
    for path, report in images.items():
        for problem in report.problems:
            yield _finding("D2", study, path, str(problem), _BROKEN_IMAGE)


def _channel_findings(
    study: str, scans: Sequence[Scan], designs: dict[str, Design], images: dict[str, TiffReport]
) -> Iterator[Finding]:
    """D3, for whole images only: what a broken one lacks is no news."""
    by_stem = {split_extension(path)[0]: design for path, design in designs.items()}
    for scan in scans:
        design = by_stem.get(scan.experiment)
        for image in scan.images:
            report = images[image.path]
            if report.problems:
                continue
            if uneven := _uneven_levels(report.pages):
                yield _finding("D3", study, image.path, uneven, "open it in a viewer at several zoom levels")
            if design is not None and (missing := _missing(design.markers, report.biomarkers)):
                message = f"has no channel for {missing}, which {scan.experiment}.xpd names"
                yield _finding("D3", study, image.path, message, "compare the design with what was really run")


def _missing(markers: Sequence[str], biomarkers: Sequence[str]) -> str:
    """The markers without a channel, as a message names them; "" if all have one."""
    missing = [marker for marker in markers if marker not in set(biomarkers)]
    named = ", ".join(missing[:_LISTED_MARKERS])
    more = len(missing) - _LISTED_MARKERS
    return f"{named}, and {more} more" if more > 0 else named


def _uneven_levels(pages: Sequence[Page]) -> str:
    """What is wrong if not every level of the pyramid has as many channels as the full resolution; "" if none is."""
    levels: dict[tuple[int, int], int] = {}
    for page in pages:
        if page.geometry is not None and page.image_type in {"FullResolution", "ReducedResolution"}:
            size = (page.geometry.width, page.geometry.height)
            levels[size] = levels.get(size, 0) + 1
    if len(set(levels.values())) <= 1:
        return ""
    counts = ", ".join(f"{width:,} x {height:,}: {count}" for (width, height), count in levels.items())
    return f"its levels have different numbers of channels ({counts})"


def _scan_findings(study: str, scans: Sequence[Scan]) -> Iterator[Finding]:
    for scan in scans:
        if scan.raw_images and not scan.images:
            message = f"has {len(scan.raw_images)} raw or intermediate images and no final one: the run is unfinished"
            hint = "let the acquisition software finish it, or process it again; remove the scan if it was given up"
            yield _finding("D5", study, scan.path, message, hint)
        if not scan.has_marker_list:
            message = f"has no .temp/{MARKER_LIST}, which says what its channels are"
            yield _finding("D4", study, scan.path, message, "look for it on the instrument, in the scan's .temp")
