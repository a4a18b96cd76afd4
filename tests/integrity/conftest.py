"""Images of real structure to damage, one for each place the index can be."""

import pytest

from cli.demo.bigtiff import UNCOMPRESSED
from cli.demo.qptiff import ImageSpec, write_qptiff

MARKERS = ("DAPI", "CD45", "CD3e", "CD8", "PanCK", "Ki67")
SPEC = ImageSpec(MARKERS, width=300, height=250, tile=64, levels=3)


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """The whole bytes of the same image, by placement of its directories."""
    directory = tmp_path_factory.mktemp("images")
    found = {}
    for placement in ("start", "end", "spread"):
        write_qptiff(directory / placement, SPEC, placement)
        found[placement] = (directory / placement).read_bytes()
    return found


@pytest.fixture(scope="session")
def uncompressed(tmp_path_factory):
    """An image whose pixels are stored as they are."""
    path = tmp_path_factory.mktemp("uncompressed") / "a.qptiff"
    write_qptiff(path, ImageSpec(MARKERS[:2], 300, 200, tile=64, levels=2, compression=UNCOMPRESSED))
    return path.read_bytes()
