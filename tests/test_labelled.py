"""Arrays with names keep their coordinates, attributes and fill value."""
import weakref

import numpy as np
import pytest
import rasterio
from affine import Affine

import ssdiff
from ssdiff.scenes import simulate

xr = pytest.importorskip("xarray")
pytestmark = pytest.mark.usefixtures("one_thread")
PAIR, HOW = simulate("QB", 7, 16), dict(sensor="QB", method="EXP")


def pair(dtype="uint16", ms_attrs={}, order=("band", "y", "x")):
    at = lambda n, step: dict(y=5e6 - step*(np.arange(n) + .5), x=3e5 + step*(np.arange(n) + .5))
    crs = lambda place: xr.DataArray(0, attrs=dict(crs_wkt="UTM", GeoTransform=place))
    pan = xr.DataArray(
        PAIR["pan"].astype(dtype), dict(at(64, 0.5), spatial_ref=crs("pan")), ("band", "y", "x"), "pan"
    )
    ms = xr.DataArray(
        PAIR["ms"].astype(dtype),
        dict(at(16, 2.0), band=["b", "g", "r", "n"], wavelength=("band", [1, 2, 3, 4]), spatial_ref=crs("ms")),
        ("band", "y", "x"),
        "reflectance",
        dict(units="1", transform=(2.0, 0), **ms_attrs),
    )
    return pan, ms.transpose(*order)


@pytest.mark.parametrize("order", [("band", "y", "x"), ("y", "x", "band")])
def test_coordinates_and_attributes(order):
    pan, ms = pair(order=order)
    ms.encoding = dict(_FillValue=0, source="ms.nc", chunksizes=(1, 8, 8))
    made = ssdiff.sharpen(pan, ms, **HOW)
    assert (
        isinstance(made, xr.DataArray) and made.dims == order and made.name == "reflectance" and made.dtype == np.uint16
    )
    assert (
        np.array_equal(made.x, pan.x)
        and np.array_equal(made.y, pan.y)
        and made.band.values.tolist() == ["b", "g", "r", "n"]
        and made.wavelength.dims == ("band",)
    )
    assert (
        made.attrs == dict(units="1")
        and made.encoding == dict(_FillValue=0)
        and made.spatial_ref.attrs["GeoTransform"] == "pan"
    )
    assert np.array_equal(made.transpose("band", "y", "x"), ssdiff.sharpen(PAIR["pan"], PAIR["ms"], **HOW))


@pytest.mark.parametrize(
    "dtype, none", [("uint16", 65535), ("uint16", 0), ("int16", -9999), ("float32", -9999.0), ("float32", np.nan)]
)
def test_fill_values(dtype, none):
    pan, ms = pair(dtype, ms_attrs=dict(_FillValue=none))
    ms = ms.copy(); ms[:, 3:5, 4:6] = none
    made = ssdiff.sharpen(pan, ms, **HOW)
    hole = np.isnan(made.values) if none != none else made.values == none
    assert hole[:, 12:20, 16:24].all() and hole.sum() == 4*64 and made.attrs["_FillValue"] is ms.attrs["_FillValue"]


def test_whole_numbers_with_a_hole_in_pan_name_a_fill_value():
    pan, ms = pair()
    made = ssdiff.sharpen(pan.where(pan.x > 3e5 + 4), ms, **HOW)
    assert made.attrs["_FillValue"] == 0 and not made[:, :, :8].any() and made[:, :, 9:].all()


def test_names_on_one_side_only():
    pan, ms = pair()
    assert type(ssdiff.sharpen(pan, PAIR["ms"], **HOW)) is np.ndarray
    made = ssdiff.sharpen(PAIR["pan"], ms, **HOW)
    np.testing.assert_allclose(made.x, pan.x); assert "GeoTransform" not in made.spatial_ref.attrs


def test_other_places_are_refused():
    pan, ms = pair()
    with pytest.raises(ValueError, match="coordinates 'x' of ms are not the middles"):
        ssdiff.sharpen(pan.assign_coords(x=pan.x + 1), ms, **HOW)
    with pytest.raises(TypeError, match="real numbers"): ssdiff.sharpen(pan, ms.astype(complex), **HOW)


# Chunks

dask, da = pytest.importorskip("dask"), pytest.importorskip("dask.array")
TALL = {k: np.tile(x, (1, 64, 1)) for k, x in PAIR.items()}  # PAN 4096 x 64, MS 1024 x 16


class Source:
    "Chunks that count how often they are computed, and how many of them are in memory at a time."
    def __init__(self, values, side):
        self.values, self.side, self.loads, self.alive, self.most = values, side, 0, 0, 0

    def array(self):
        chunks = [(len(self.values),), *((self.side,)*(n//self.side) for n in self.values.shape[1:])]
        return da.map_blocks(self.load, dtype=self.values.dtype, chunks=chunks, meta=np.empty((0, 0, 0), "uint16"))

    def load(self, block_info=None):
        (_, (y, end), (x, last)) = block_info[None]["array-location"]
        chunk = self.values[:, y:end, x:last].copy()
        self.loads, self.alive = self.loads + 1, self.alive + 1
        self.most = max(self.most, self.alive)
        weakref.finalize(chunk, self.forget)
        return chunk

    def forget(self): self.alive -= 1


def lazy(**attrs):
    "PAN and MS in 64 chunks each, and who counts them."
    sources = Source(TALL["pan"], 64), Source(TALL["ms"], 16)
    at = lambda n, m, step: dict(y=5e6 - step*(np.arange(n) + .5), x=3e5 + step*(np.arange(m) + .5))
    places = at(4096, 64, .5), dict(at(1024, 16, 2.), band=["b", "g", "r", "n"])
    arrays = (xr.DataArray(s.array(), c, ("band", "y", "x"), attrs=attrs) for s, c in zip(sources, places))
    return *arrays, sources


@pytest.mark.parametrize("method", ["EXP", "BT-H"])
def test_chunks_are_loaded_when_they_are_needed_and_forgotten(method):
    pan, ms, sources = lazy(units="1")
    how = dict(sensor="QB", method=method, window=64, register="off")
    made = ssdiff.sharpen(pan, ms, **how)
    called = [s.loads for s in sources]
    assert isinstance(made, xr.DataArray) and made.chunks == ((4,), (64,)*64, (64,))
    corner = made[:, :64].compute(scheduler="synchronous")
    assert all(s.loads - n <= 2 for s, n in zip(sources, called))  # its own chunk, and the one below it
    whole = made.compute(scheduler="synchronous")
    assert all(s.most <= 20 for s in sources)  # of 64: the look at the scene takes 1024 rows at a time
    plain = ssdiff.sharpen(TALL["pan"], TALL["ms"], **how)
    assert np.array_equal(whole, plain) and np.array_equal(corner, plain[:, :64])
    assert made.dtype == np.uint16 and made.attrs == dict(units="1")
    assert made.band.values.tolist() == ["b", "g", "r", "n"]
    assert np.array_equal(made.x, pan.x) and np.array_equal(made.y, pan.y)


def test_chunks_with_holes_name_a_fill_value():
    pan, ms, (_, source) = lazy()
    source.values = source.values.copy()
    source.values[:, 3:6, 4:8] = 9
    made = ssdiff.sharpen(pan, ms.assign_attrs(_FillValue=9), **HOW)
    hole = made.compute(scheduler="synchronous").values == 9
    assert made.attrs["_FillValue"] == 9 and hole[:, 12:24, 16:32].all() and hole.sum() == 4*12*16
    made = ssdiff.sharpen(pan.where(pan.x > 3e5 + 4), ms, **HOW)
    assert made.attrs["_FillValue"] == 0 and not made[:, :, :8].any() and made[:, :, 9:].all()


def test_samples_of_chunks_and_arrays_of_dask_alone():
    from ssdiff.network import toy_network
    how = dict(sensor="QB", weights=toy_network(), steps=1, samples=2, adapt=0, window=64)
    pan, ms, _ = lazy()
    part = dict(pan=pan[:, :128].data, ms=ms[:, :32].data)
    made = dask.compute(*ssdiff.sharpen(part["pan"], part["ms"], **how), scheduler="threads")
    plain = ssdiff.sharpen(TALL["pan"][:, :128], TALL["ms"][:, :32], **how)
    for a, b in zip(made, plain): assert type(a) is np.ndarray and a.dtype == b.dtype and np.array_equal(a, b)
    with pytest.warns(UserWarning, match="pixels without data are 0 in the result"):
        ssdiff.sharpen(part["pan"], da.ma.masked_equal(part["ms"], int(TALL["ms"].max())), **HOW)
    half = ssdiff.sharpen(TALL["pan"], ms.data, **HOW)  # one of them in chunks
    assert np.array_equal(half.compute(), ssdiff.sharpen(TALL["pan"], TALL["ms"], **HOW))


@pytest.mark.parametrize("chunks", [None, dict(x=64, y=64)])
def test_files_through_rioxarray_and_back(tmp_path, chunks):
    rioxarray = pytest.importorskip("rioxarray")
    from ssdiff.geotiff import write_tiff
    grid = Affine(.5, 0, 300_000, 0, -.5, 5_000_000)
    paths = write_tiff(tmp_path/"pan.tif", TALL["pan"], grid), \
        write_tiff(tmp_path/"ms.tif", TALL["ms"], grid @ Affine.scale(4), nodata=0)
    pan, ms = (rioxarray.open_rasterio(p, chunks=chunks) for p in paths)
    made = ssdiff.sharpen(pan, ms, **HOW)
    assert (made.chunks is None) == (chunks is None) and made.rio.crs == ms.rio.crs and made.rio.nodata == 0
    assert made.rio.transform() == grid and made.rio.bounds() == pan.rio.bounds()
    made.rio.to_raster(tmp_path/"through.tif")
    ssdiff.sharpen(*paths, tmp_path/"straight.tif", **HOW)
    with rasterio.open(tmp_path/"through.tif") as a, rasterio.open(tmp_path/"straight.tif") as b:
        assert (a.crs, a.transform, a.nodata, a.dtypes) == (b.crs, b.transform, b.nodata, b.dtypes)
        assert np.array_equal(a.read(), b.read())
