"""What checking the image of a whole slide costs: bytes and requests, because each request is a round trip over SMB.

The geometry is a real file's: 41 channels of 66,960 x 33,600 pixels, 290 pages, 476 thousand tiles of 512 pixels. The
file is sparse: its index is whole, its pixels are a few bytes where the checker may look.
"""

import pytest

from cli.demo.bigtiff import lay_out
from cli.demo.qptiff import ImageSpec, qpi_pages
from fusion_assets.integrity.segments import CANDIDATES_PER_PAGE, SAMPLES_PER_FILE, spread
from fusion_assets.integrity.tiff import check_tiff
from resources.local import LocalStorage

SLIDE = ImageSpec(
    tuple(f"Marker{number}" for number in range(41)),
    width=33_600,
    height=66_960,
    tile=512,
    levels=7,
    overview=(2736, 1536),
    label=(720, 960),
)


def write_sparse(path, placement):
    layout = lay_out(qpi_pages(SLIDE), placement)
    with path.open("wb") as file:
        file.truncate(layout.size)
        for offset, content in layout.index:
            file.seek(offset)
            file.write(content)
        for segments in layout.segments:
            for index in spread(len(segments), CANDIDATES_PER_PAGE):
                file.seek(int(segments[index]))
                file.write(b"\x80\x0b")
    return layout


# Measured: together 95 requests for the index and 330 samples, 7.4 MB; spread 496 and 331, 10.0 MB.
@pytest.mark.parametrize(
    ("placement", "index_requests", "megabytes"), [("start", 100, 8), ("end", 100, 8), ("spread", 520, 10.5)]
)
def test_a_slide_of_hundreds_of_gigabytes_is_checked_in_a_few_hundred_requests(
    tmp_path, placement, index_requests, megabytes
):
    layout = write_sparse(tmp_path / "slide.qptiff", placement)
    assert layout.size > 200e9
    storage = LocalStorage(tmp_path)
    with storage.open_reader("slide.qptiff") as reader:
        report = check_tiff(reader, reader.stat().size)
    assert report.problems == ()
    assert len(report.pages) == 290
    assert sum(page.geometry.segments for page in report.pages) == 475_808
    assert len(report.biomarkers) == 41
    assert report.bytes_read <= megabytes * 1e6
    assert report.requests - report.sample_requests <= index_requests
    assert report.sample_requests <= SAMPLES_PER_FILE + 290


def test_a_slide_whose_last_byte_is_missing_is_found_for_the_same_price(tmp_path):
    path = tmp_path / "slide.qptiff"
    layout = write_sparse(path, "start")
    with path.open("r+b") as file:
        file.truncate(layout.size - 1)
    with LocalStorage(tmp_path).open_reader(path.name) as reader:
        report = check_tiff(reader, layout.size - 1)
    (problem,) = report.problems
    assert "1 of its 15 strips lie outside the file" in str(problem)
    assert report.bytes_read <= 8e6
