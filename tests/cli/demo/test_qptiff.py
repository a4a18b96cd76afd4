"""The demonstration's images are what readers of real ones expect."""

import time

import pytest
import tifffile

from cli.demo.qptiff import ImageSpec, qpi_pages, write_qptiff

MARKERS = ("DAPI", "CD8", "PanCK & friends")
SPEC = ImageSpec(MARKERS, width=520, height=400, study="20260105_WW_HCC_run1")


@pytest.mark.parametrize("placement", ["start", "end", "spread"])
def test_a_library_takes_it_for_a_pyramid_of_the_instrument(tmp_path, placement):
    write_qptiff(tmp_path / "a.qptiff", SPEC, placement)
    with tifffile.TiffFile(tmp_path / "a.qptiff") as file:
        assert file.is_qpi
        assert file.is_bigtiff
        (baseline, thumbnail, macro, label) = file.series
        assert [level.shape for level in baseline.levels] == [(3, 400, 520), (3, 200, 260), (3, 100, 130)]
        assert [series.name for series in (thumbnail, macro, label)] == ["Thumbnail", "Macro", "Label"]
        assert {page.compression.name for page in file.pages} == {"LZW"}
        description = file.pages[2].description
    assert description.startswith('<?xml version="1.0" encoding="utf-16"?>')
    assert "<Biomarker>PanCK &amp; friends</Biomarker>" in description


def test_the_same_seed_gives_the_same_file_and_another_one_does_not(tmp_path):
    write_qptiff(tmp_path / "a", SPEC)
    write_qptiff(tmp_path / "b", SPEC)
    write_qptiff(tmp_path / "c", ImageSpec(MARKERS, width=520, height=400, study=SPEC.study, seed=1))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes() != (tmp_path / "c").read_bytes()


def test_a_real_slide_s_geometry_makes_290_pages():
    slide = ImageSpec(tuple(f"M{number}" for number in range(41)), width=33_600, height=66_960, tile=512, levels=7)
    assert len(qpi_pages(slide)) == 290


def test_an_image_of_20_mb_takes_well_under_a_second(tmp_path):
    started = time.process_time()
    write_qptiff(tmp_path / "a", ImageSpec(tuple("abcdefg"), width=1024, height=1024))
    assert (tmp_path / "a").stat().st_size > 20_000_000
    assert time.process_time() - started < 1
