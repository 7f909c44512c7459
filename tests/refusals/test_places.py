"""Two files that cannot be laid on each other: other coordinate systems, other ways to say a place, other places."""
import pytest
import rasterio
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.rpc import RPC

from ssdiff.places import lay

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
GRID, UTM = Affine(.5, 0, 500_000, 0, -.5, 5_400_000), "EPSG:32633"


def points(scale):
    "Ground control points in the corners."
    at = lambda r, c: GroundControlPoint(r*scale, c*scale, 12 + c/1e4, 45 - r/1e4)
    return [at(r, c) for r in (0, 64) for c in (0, 96)], CRS.from_epsg(4326)


def camera(scale, lon=12.):
    "The polynomials of a camera that looks straight down."
    one, line, sample = [1.] + [0.]*19, [0., 0., 1.] + [0.]*17, [0., 1.] + [0.]*18
    ground = dict(height_off=100., height_scale=500., lat_off=45., lat_scale=.01, long_off=lon, long_scale=.01)
    pixels = dict(line_off=32*scale, line_scale=32*scale, samp_off=48*scale, samp_scale=48*scale)
    return RPC(**ground, **pixels, line_num_coeff=line, line_den_coeff=one, samp_num_coeff=sample, samp_den_coeff=one)


@pytest.fixture
def tiff(tmp_path):
    """Writes a file of zeros and opens it; attributes are set afterwards."""
    def write(name, size, transform=None, crs=None, **after):
        image = dict(count=1, height=size[0], width=size[1], dtype="uint8", transform=transform, crs=crs)
        with rasterio.open(tmp_path/name, "w", driver="GTiff", **image) as d:
            for k, v in after.items(): setattr(d, k, v)
        return rasterio.open(tmp_path/name)
    return write


ON_GRID = dict(transform=GRID, crs=UTM)
COARSE = GRID @ Affine.scale(4)


@pytest.mark.parametrize("pan, ms, words", [
    (ON_GRID, dict(transform=COARSE, crs="EPSG:32634"), "bring one to the other's"),
    (ON_GRID, dict(transform=COARSE), "does not say in which coordinate system"),
    (ON_GRID, dict(crs=UTM), "ms says nothing about its place but the other has a GeoTransform"),
    (dict(gcps=points(1)), dict(transform=COARSE, crs=UTM),
     "pan says its place by ground control points but the other has a GeoTransform; rectify it"),
    (dict(rpcs=camera(1)), dict(rpcs=camera(1/4, 13.)), "by their RPCs pan and ms do not overlap"),
], ids=["another zone", "no coordinate system", "no place", "points and a grid", "RPCs of another place"])
def test_what_cannot_be_laid_on_each_other(tiff, pan, ms, words):
    with pytest.raises(ValueError) as e: lay(tiff("pan.tif", (64, 96), **pan), tiff("ms.tif", (16, 24), **ms))
    assert words in str(e.value), str(e.value)
