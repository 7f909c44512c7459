"""Files that are no pair: too far apart, no files at all, another ratio, another coordinate system."""
import pytest
from affine import Affine

from ssdiff.geotiff import GeoScene, _axis, write_tiff
from ssdiff.rasters import find_raster
from ssdiff.scenes import simulate

PAIR = simulate("QB", 3, 16)
GRID = Affine(.6, 0, 500_000, 0, -.6, 5_400_000)
COARSE = GRID @ Affine.scale(4)


@pytest.fixture
def pan(tmp_path): return write_tiff(tmp_path/"pan.tif", PAIR["pan"], GRID)


def refused(f, words, kind=ValueError):
    "`f` raises an error of this kind whose message has these words."
    with pytest.raises(kind) as e: f()
    assert words in str(e.value), str(e.value)


def test_axes_that_share_nothing(): refused(lambda: _axis(100, 10, 200), "do not overlap")


def test_what_is_neither_file_nor_dataset():
    refused(lambda: find_raster([1], "pan"), "pan has to be an array of real numbers, the path", TypeError)


def test_a_file_that_is_not_there(tmp_path, pan): refused(lambda: GeoScene(tmp_path/"nothing.tif", pan), "no such file")


@pytest.mark.parametrize("grid, crs, words", [
    (GRID @ Affine.translation(9000, 0) @ Affine.scale(4), "EPSG:32633", "do not overlap"),
    (GRID @ Affine.scale(2), "EPSG:32633", "an MS pixel is 2 x 2 PAN pixels"),
    (COARSE, "EPSG:32634", "bring one to the other's"),
], ids=["far", "half", "another zone"])
def test_an_ms_that_does_not_belong_to_pan(tmp_path, pan, grid, crs, words):
    ms = write_tiff(tmp_path/"ms.tif", PAIR["ms"], grid, crs=crs)
    refused(lambda: GeoScene(pan, ms), words)
