"""Files: georeferencing, types, holes, grids that do not match, and what is left when something goes wrong."""
import os
import pickle
import shutil
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp

import ssdiff
from ssdiff.geotiff import GeoScene, write_tiff
from ssdiff.scenes import simulate

pytestmark = pytest.mark.usefixtures("one_thread")
GRID = Affine(.5, 0, 300_000, 0, -.5, 5_000_000)
PAIR = simulate("QB", 7, 48)
METHOD = dict(sensor="QB", method="MTF-GLP-FS")


@pytest.fixture
def files(tmp_path):
    """Writes a pair; `files.read(...)` sharpens it and returns the open result."""
    class Files:
        folder, out = tmp_path, tmp_path/"out.tif"
        def write(self, pan=PAIR["pan"], ms=PAIR["ms"], pan_grid=GRID, ms_grid=None,
                  pan_profile={}, ms_profile={}, **profile):
            if ms_grid is None: ms_grid = pan_grid @ Affine.scale(4)
            self.pan = write_tiff(tmp_path/"pan.tif", pan, pan_grid, **{**profile, **pan_profile})
            self.ms = write_tiff(tmp_path/"ms.tif", ms, ms_grid, **{**profile, **ms_profile})
            return self
        def sharpen(self, **how): return ssdiff.sharpen(self.pan, self.ms, self.out, **{**METHOD, **how})
        def read(self, **how):
            self.outcome = self.sharpen(**how)
            return rasterio.open(self.out)
    return Files()


EXPECTED = ssdiff.sharpen(PAIR["pan"], PAIR["ms"], **METHOD)


SOUTH_UP = Affine(.5, 0, 300_000, 0, .5, 5_000_000)


@pytest.mark.parametrize("grid", [GRID, GRID @ Affine.rotation(20), SOUTH_UP], ids=["north up", "rotated", "south up"])
def test_georeferencing_is_that_of_pan(files, grid):
    with files.write(pan_grid=grid, crs="EPSG:32719").read() as d, rasterio.open(files.pan) as p:
        assert (d.crs, d.transform, d.bounds, d.shape, d.res) == (p.crs, p.transform, p.bounds, p.shape, p.res)
        assert np.array_equal(d.read(), EXPECTED)


def test_the_file_is_tiled_compressed_and_described_like_ms(files):
    files.write()
    with rasterio.open(files.ms, "r+") as m:
        m.descriptions = "blue", "green", "red", "nir"
        m.colorinterp = ColorInterp.blue, ColorInterp.green, ColorInterp.red, ColorInterp.undefined
        m.units, m.scales, m.offsets = ("DN",)*4, (.1, .2, .3, .4), (1., 2., 3., 4.)
        m.update_tags(ACQUIRED="2020-06-01")
        m.update_tags(2, WAVELENGTH="545")
        m.update_tags(1, STATISTICS_MEAN="7")
    with files.read(overviews=True) as d, rasterio.open(files.ms) as m:
        for what in ("descriptions", "colorinterp", "units", "scales", "offsets", "dtypes", "nodata"):
            assert getattr(d, what) == getattr(m, what), what
        assert d.profile["tiled"] and d.compression.name == "deflate" and d.overviews(1)
        assert d.tags()["ACQUIRED"] == "2020-06-01" and d.tags(2)["WAVELENGTH"] == "545"
        assert "STATISTICS_MEAN" not in d.tags(1)
    assert sorted(f.name for f in files.folder.iterdir()) == ["ms.tif", "out.tif", "pan.tif"]


def test_a_big_result_becomes_a_bigtiff(tmp_path):
    from ssdiff.writing import _LAYOUT
    for size, magic in ((300, b"II*\0"), (30_000, b"II+\0")):
        image = dict(height=size, width=size, count=8, dtype="uint16", crs="EPSG:32633", transform=GRID)
        with rasterio.open(tmp_path/"a.tif", "w", **_LAYOUT, SPARSE_OK=True, **image): pass
        with open(tmp_path/"a.tif", "rb") as f: assert f.read(4) == magic


@pytest.mark.parametrize("dtype, nodata", [
    ("uint16", None), ("uint16", 0), ("uint16", 65535), ("uint8", 0), ("uint8", 255), ("int16", -1),
    ("float32", np.nan), ("float32", -9999), ("float64", None)])
def test_types_and_nodata(files, dtype, nodata):
    full = 255 if dtype == "uint8" else 2047
    pan, ms = ((PAIR[k]*(full/2047)).astype(dtype) for k in ("pan", "ms"))
    if nodata is not None:
        pan, ms = (np.where(x == nodata, 1, x).astype(dtype) for x in (pan, ms))
        pan[:, 50:90, :60] = ms[:, 40:, 40:] = nodata
        ms[0, 5, 5] = nodata  # in one band only
    hole = np.zeros(pan.shape[1:], bool)
    if nodata is not None: hole[50:90, :60] = hole[160:, 160:] = True
    if nodata not in (None, 0): hole[20:24, 20:24] = True  # one band is not enough for 0, which a dark pixel may have
    with files.write(pan, ms, nodata=nodata).read(full_scale=full) as d:
        assert d.dtypes[0] == dtype and (d.nodata == nodata or np.isnan(nodata))
        image = d.read()
        if nodata is None: gone = np.zeros_like(image, bool)
        else: gone = np.isnan(image) if np.isnan(nodata) else image == nodata
        assert all(np.array_equal(g, hole) for g in gone)  # in every band, and nowhere else
        assert np.array_equal(d.dataset_mask() == 0, hole)


def test_holes_without_a_nodata_value_get_one(files):
    files.write()
    with rasterio.open(files.pan, "r+") as p: p.write_mask(~np.pad(np.ones((40, 40), bool), ((10, 142), (20, 132))))
    with files.read() as d:
        assert d.nodata == 0
        assert np.array_equal(d.read(1) == 0, np.pad(np.ones((40, 40), bool), ((10, 142), (20, 132))))


def test_an_alpha_band_is_no_band(files):
    files.write(ms=np.concatenate([PAIR["ms"], np.full_like(PAIR["ms"][:1], 65535)]))
    with rasterio.open(files.ms, "r+") as m: m.colorinterp = (*m.colorinterp[:4], ColorInterp.alpha)
    with files.read() as d: assert d.count == 4 and np.array_equal(d.read(), EXPECTED)


CUTS = (slice(0, 189), slice(0, 190)), (slice(5, 180), slice(11, 187)), (slice(3, 163), slice(2, 192))


@pytest.mark.parametrize("rows, columns", CUTS, ids=str)
def test_ms_larger_than_pan_and_odd_sizes(files, rows, columns):
    grid = GRID @ Affine.translation(columns.start, rows.start)
    files.write(PAIR["pan"][:, rows, columns], pan_grid=grid, ms_grid=GRID @ Affine.scale(4))
    with files.read() as d, rasterio.open(files.pan) as p:
        assert (d.transform, d.shape) == (p.transform, p.shape) and not files.outcome.notes
        inside = (..., slice(24, -24), slice(24, -24))
        difference = abs(d.read()[inside].astype(float) - EXPECTED[:, rows, columns][inside])
        # the gain is fitted to fewer pixels, otherwise the same
        assert np.median(difference) <= 1 and difference.mean() < 2


def test_pan_larger_than_ms(files):
    files.write(ms=PAIR["ms"][:, 10:, 5:], ms_grid=GRID @ Affine.translation(20, 40) @ Affine.scale(4))
    with files.read() as d:
        assert d.shape == (152, 172) and (d.transform.c, d.transform.f) == (GRID @ (20, 40))
        assert "both cover" in files.outcome.notes[0]


def test_ms_half_a_pixel_off_is_resampled_to_where_it_belongs(files):
    """The same ground, sampled half an MS pixel (two PAN pixels, an integer) and 1.5 PAN pixels off."""
    fine = np.kron(PAIR["pan"][0].astype(float), np.ones((2, 2)))  # half-PAN pixels
    coarse = lambda shift: np.stack([np.roll(fine, (-shift, -shift), (0, 1)).reshape(48, 8, 48, 8).mean((1, 3))]*4)
    read = lambda grid, ms: files.write(ms=ms, ms_grid=grid @ Affine.scale(4)).read(method="EXP", overwrite=True)
    with read(GRID, coarse(0)) as d: true = d.read()
    with read(GRID @ Affine.translation(1.5, 1.5), coarse(3)) as d: moved, notes = d.read(), files.outcome.notes
    with read(GRID, coarse(3)) as d: wrong = d.read()
    inside = (..., slice(24, -24), slice(24, -24))
    assert "resampled" in notes[0] and abs(moved - true)[inside].mean() < .7*abs(wrong - true)[inside].mean()


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_files_without_a_place(files):
    files.write(pan_grid=Affine.identity(), ms_grid=Affine.identity(), crs=None)
    with files.read() as d: assert np.array_equal(d.read(), EXPECTED)
    assert "nothing about their place" in files.outcome.notes[0]


def test_no_seam(files):
    """The largest step across window borders is not larger than steps elsewhere."""
    with files.write().read(window=64) as d: steps = abs(np.diff(d.read().astype(float), axis=2)).max((0, 1))
    at = np.arange(63, 191, 64)
    assert steps[at].max() <= np.delete(steps, at).max()


def test_samples_and_their_spread(files):
    from ssdiff.network import toy_network
    files.write().sharpen(method="SSDiff", weights=toy_network(), steps=1, samples=2, uncertainty=files.folder/"u.tif")
    with rasterio.open(files.out) as d, rasterio.open(files.folder/"u.tif") as u:
        assert (u.transform, u.crs, u.shape) == (d.transform, d.crs, d.shape)
        assert (u.count, u.dtypes[0]) == (4, "float32")
        assert np.isfinite(u.read()).all() and u.read().mean() > 1


def test_a_truncated_file_is_found_before_anything_is_written(files):
    files.write()
    with open(files.pan, "r+b") as f: f.truncate(os.path.getsize(files.pan)//2)
    with pytest.raises(ValueError, match="pan .*pan.tif cannot be read .*copy or download it again"): files.sharpen()
    assert sorted(f.name for f in files.folder.iterdir()) == ["ms.tif", "pan.tif"]


def run(files, before, **how):
    call = f"ssdiff.sharpen({files.pan!r}, {files.ms!r}, {str(files.out)!r}, **{dict(METHOD, **how)!r})"
    code = f"import signal, resource, os, ssdiff, ssdiff.writing as w\n{before}\n{call}"
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("share", [.01, .6, .999])
def test_a_disk_that_fills_up_leaves_nothing(files, share):
    """Writes beyond a limit fail, as on a full disk: at the first block, at a later one, when the file is closed."""
    files.write().sharpen()
    limit = int(share*os.path.getsize(files.out))
    files.out.unlink()
    limited = f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))"
    process = run(files, f"signal.signal(signal.SIGXFSZ, signal.SIG_IGN); {limited}")
    error = process.communicate()[1]
    assert process.returncode and "is the disk full?" in error.splitlines()[-1], error
    assert sorted(f.name for f in files.folder.iterdir()) == ["ms.tif", "pan.tif"]


def test_a_killed_run_leaves_no_result_and_the_next_one_works(files):
    files.write()
    kill = "write = w._write\ndef killed(*a): write(*a); os.kill(os.getpid(), signal.SIGKILL)\nw._write = killed"
    assert run(files, kill).wait() == -signal.SIGKILL
    left, *others = sorted(f.name for f in files.folder.iterdir())
    assert left.startswith(".out.tif.") and left.endswith(".partial") and others == ["ms.tif", "pan.tif"]
    with files.read() as d: assert np.array_equal(d.read(), EXPECTED)
    assert sorted(f.name for f in files.folder.iterdir()) == ["ms.tif", "out.tif", "pan.tif"]


def test_no_room(files, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(total=10**9, used=10**9, free=1000))
    with pytest.raises(OSError, match="needs up to .* make room"): files.write().sharpen()


def test_a_scene_can_be_sent_to_another_process(files):
    scene = GeoScene(files.write().pan, files.ms)
    again = pickle.loads(pickle.dumps(scene))
    assert np.array_equal(again.read(again.inner).pan, PAIR["pan"])
