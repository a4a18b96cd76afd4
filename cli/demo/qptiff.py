"""A QPI-like ``.qptiff``: the pages, descriptions and pyramid of a PhenoCycler-Fusion image, with invented pixels.

What belongs here: what such a file says and shows. What does not: how a BigTIFF is put together (`bigtiff`). The page
order and tags follow a real file of 290 pages: 41 channels, thumbnail, 6 reduced levels of 41 each, overview, label.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cli.demo.bigtiff import LZW, PageSpec, Placement, write_bigtiff

_DYES = (("DAPI", "0,0,255"), ("ATTO550", "255,255,0"), ("CY5", "255,0,0"), ("AF750", "0,255,255"))
_BACKGROUND = 90  # grey levels; a camera's black is never zero
_NUCLEI_EDGE = 256
_NUCLEI = 60


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """An image to invent.

    Attributes:
        biomarkers: One channel each, in order.
        width: Of the full resolution, in pixels.
        height: Of the full resolution, in pixels.
        study: What the acquisition software was told as the study's name.
        seed: Of the invented pixels.
        levels: Of the pyramid, the full resolution among them.
        tile: Edge of a tile in pixels.
        thumbnail: Width and height of the RGB thumbnail; likewise the overview and the label.
        compression: LZW as the instrument writes it, or none.
    """

    biomarkers: tuple[str, ...]
    width: int
    height: int
    study: str = "demo"
    seed: int = 0
    levels: int = 3
    tile: int = 256
    thumbnail: tuple[int, int] = (131, 261)
    overview: tuple[int, int] = (342, 192)
    label: tuple[int, int] = (160, 120)
    compression: int = LZW


def qpi_pages(spec: ImageSpec) -> list[PageSpec]:
    """The pages of the image, in the instrument's order."""

    def channels(level: int) -> Iterator[PageSpec]:
        kind = "ReducedResolution" if level else "FullResolution"
        for number, biomarker in enumerate(spec.biomarkers):
            yield PageSpec(
                width=spec.width >> level,
                height=spec.height >> level,
                description=describe(spec, kind, number, biomarker),
                tile=spec.tile,
                reduced=bool(level),
                compression=spec.compression,
            )

    def photograph(kind: str, size: tuple[int, int]) -> PageSpec:
        width, height = size
        description = describe(spec, kind)
        return PageSpec(width, height, description, rgb=True, reduced=True, compression=spec.compression)

    pages = [*channels(0), photograph("Thumbnail", spec.thumbnail)]
    for level in range(1, spec.levels):
        pages += channels(level)
    return [*pages, photograph("Overview", spec.overview), photograph("Label", spec.label)]


def describe(spec: ImageSpec, kind: str, number: int = 0, biomarker: str = "") -> bytes:
    """The ImageDescription of a page: UTF-8 under a declaration that says UTF-16, as the instrument writes it."""
    dye, color = (
        _DYES[1 + (number - 1) % 3] if number else _DYES[0]
    )  # every cycle is stained with DAPI, the rest rotate
    fields = {
        "DescriptionVersion": "5",
        "AcquisitionSoftware": "PhenoImagerFusion (demonstration)",
        "ImageType": kind,
        "Identifier": f"{spec.seed:08x}-{number:04x}",
        "SlideID": spec.study,
        "ComputerName": "DEMO-FUSION",
        "ExposureTime": str(5000 + 1000 * number),
        "SignalUnits": "70",
        "Objective": "20x",
        "StudyName": spec.study,
        "OperatorName": "Demo Operator",
    }
    if biomarker:
        fields |= {"Name": dye, "Biomarker": biomarker, "Color": color}
    body = "".join(f"  <{name}>{escape(value, quote=False)}</{name}>\r\n" for name, value in fields.items())
    text = (
        '<?xml version="1.0" encoding="utf-16"?>\r\n'
        f"<PerkinElmer-QPI-ImageDescription>\r\n{body}</PerkinElmer-QPI-ImageDescription>"
    )
    return text.encode()


def write_qptiff(path: Path, spec: ImageSpec, placement: Placement = "end") -> None:
    """Invent the image and write it.

    Args:
        path: The new file.
        spec: What it shows.
        placement: Where the directories are in the file.
    """
    write_bigtiff(path, qpi_pages(spec), _pictures(spec), placement)


def _pictures(spec: ImageSpec) -> Iterator[npt.NDArray[np.generic]]:
    random = np.random.default_rng(spec.seed)
    nuclei = _nuclei(random)
    channels = [_channel(spec, nuclei, random, number) for number in range(len(spec.biomarkers))]
    yield from channels
    yield _photograph(spec.thumbnail, random)
    for level in range(1, spec.levels):
        step = 1 << level
        for channel in channels:
            yield channel[::step, ::step][: spec.height >> level, : spec.width >> level]
    yield _photograph(spec.overview, random)
    yield _photograph(spec.label, random)


def _nuclei(random: np.random.Generator) -> npt.NDArray[np.uint16]:
    """A patch of blurred discs that can be laid edge to edge."""
    y, x = np.ogrid[:_NUCLEI_EDGE, :_NUCLEI_EDGE]
    patch = np.zeros((_NUCLEI_EDGE, _NUCLEI_EDGE))
    half = _NUCLEI_EDGE // 2
    for center_y, center_x, radius, brightness in random.random((_NUCLEI, 4)):
        dy = (y - center_y * _NUCLEI_EDGE + half) % _NUCLEI_EDGE - half
        dx = (x - center_x * _NUCLEI_EDGE + half) % _NUCLEI_EDGE - half
        patch += (500 + 3000 * brightness) * np.exp(-(dy * dy + dx * dx) / (2 * (4 + 5 * radius) ** 2))
    return patch.astype(np.uint16)


def _channel(
    spec: ImageSpec, nuclei: npt.NDArray[np.uint16], random: np.random.Generator, number: int
) -> npt.NDArray[np.generic]:
    """The nuclei, shifted and dimmed for each channel, over a noisy background."""
    repeats = (-(-spec.height // _NUCLEI_EDGE), -(-spec.width // _NUCLEI_EDGE))
    shifted = np.roll(nuclei, (37 * number, 59 * number), axis=(0, 1)) >> (number % 4)
    picture = np.tile(shifted, repeats)[: spec.height, : spec.width]
    noise = random.integers(0, 64, size=picture.shape, dtype=np.uint16)
    noise += picture
    noise += _BACKGROUND
    return noise


def _photograph(size: tuple[int, int], random: np.random.Generator) -> npt.NDArray[np.generic]:
    width, height = size
    return random.integers(180, 255, size=(height, width, 3), dtype=np.uint8)
