"""Pixels without data, whoever says so and wherever: they stay without, and nothing of what lies under them is seen."""
import os
import warnings

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from hypothesis import HealthCheck, given, settings, strategies as st
from scipy.ndimage import distance_transform_cdt

import ssdiff
from holed import SOURCES, sources, write, write_vrt
from ssdiff.scenes import simulate
from ssdiff.sensors import SENSORS
from ssdiff.network import toy_network
from ssdiff.validity import resample

pytestmark = pytest.mark.usefixtures("one_thread")
TIMES = int(os.environ.get("EXAMPLES", 1))
GRID, SIDE = Affine(.5, 0, 300_000, 0, -.5, 5_000_000), 32
PAIRS = {name: simulate(name, 5, SIDE) for name in ("QB", "WV3")}
OFF = {"on": Affine.identity(), "shifted": Affine.translation(.3, -.4), "turned": Affine.rotation(3)}
LOOKS = dict(EXP=40) # PAN pixels around a hole that the interpolation sees


def block(n, k=1): hole = np.zeros((n, n), bool); hole[10*k:16*k, 14*k:21*k] = hole[5*k, 3*k] = True; return hole
HOLES = dict(pan=block(4*SIDE, 4), ms=block(SIDE))


def expected(which, hole, to=None):
    "(4h,4w), where the result has data; `to` from the grid of PAN's blocks to the MS pixels."
    if which == "pan": return ~hole
    if to is None: return (~hole).repeat(4, 0).repeat(4, 1)
    read = lambda rows, cols: (np.zeros((1, *hole[rows, cols].shape)), ~hole[rows, cols])
    return resample(read, hole.shape, to, slice(0, SIDE), slice(0, SIDE))[1].repeat(4, 0).repeat(4, 1)


def place(folder, pair, which, source, off, hidden, dtype="uint16", hole=None):
    "Write a pair with a hole in one of the two; their paths."
    images = {k: pair[k].astype(dtype) for k in ("pan", "ms")}
    grids = dict(pan=GRID, ms=GRID @ OFF[off] @ Affine.scale(4))
    return [
        write(
            folder / f"{k}.tif",
            images[k],
            (HOLES[k] if hole is None else hole) if k == which else np.zeros(images[k].shape[1:], bool),
            source if k == which else "internal mask",
            grids[k],
            hidden,
        )
        for k in ("pan", "ms")
    ]


def sharpened(paths, out, **how):
    "The result in a file and in memory, and where it has data; the two are the same."
    ssdiff.sharpen(*paths, out, overwrite=True, **how)
    with rasterio.open(out) as d:
        image, valid = d.read(), d.read_masks().all(0)
        valid &= np.isfinite(image).all(0)
        assert (d.read_masks() > 0).any(0).tolist() == valid.tolist() or d.nodata is None
    memory = ssdiff.sharpen(*paths, **how)
    assert np.array_equal(np.ma.getdata(memory)[:, valid], image[:, valid])
    assert np.array_equal(
        np.isfinite(memory).filled(False).all(0) if np.ma.isMaskedArray(memory) else np.isfinite(memory).all(0), valid
    )
    return image, valid


@pytest.mark.parametrize("off", OFF)
@pytest.mark.parametrize("which", HOLES)
@pytest.mark.parametrize("source", SOURCES)
def test_every_source_on_every_grid(tmp_path, source, which, off):
    """The hole is where it was said to be, and what lies under it, even far above the full scale, changes nothing."""
    if "NaN in one" in source and which == "pan": pytest.skip("PAN has one band")
    dtype = "float32" if "NaN" in source else "uint16"
    to = None if off == "on" else ~(OFF[off] @ Affine.scale(4)) @ Affine.scale(4)
    made = [
        sharpened(
            place(tmp_path, PAIRS["WV3"], which, source, off, hidden, dtype),
            tmp_path / "out.tif",
            sensor="WV3",
            method="MTF-GLP-FS",
        )
        for hidden in (1, 60_000)
    ]
    nothing = np.zeros((SIDE, SIDE), bool)
    want = expected(which, HOLES[which], to) & expected("ms", nothing, to)
    for image, valid in made:
        assert np.array_equal(valid, want)
        assert np.array_equal(image[:, valid], made[0][0][:, valid])


@pytest.mark.parametrize(
    "how",
    [dict(method=n) for n in ("EXP", "BT-H", "BDSD-PC")] + [dict(method="SSDiff", weights=toy_network(), steps=1)],
    ids=lambda h: h["method"],
)
@pytest.mark.parametrize("off", ["on", "shifted"])
def test_every_method(tmp_path, how, off):
    made = [
        sharpened(
            place(tmp_path, PAIRS["QB"], which, "internal mask", off, hidden), tmp_path / "out.tif", sensor="QB", **how
        )
        for which in HOLES
        for hidden in (1, 60_000)
    ]
    for a, b in zip(made[::2], made[1::2]):
        assert not a[1].all() and np.array_equal(a[1], b[1]) and np.array_equal(a[0][:, a[1]], b[0][:, b[1]])


def test_a_hole_on_the_grid_and_off_it(tmp_path):
    """The same ground and the same hole in PAN, from an MS on PAN's grid and from one just off it

    The second begins a hundredth of a pixel beside what still counts as the grid."""
    how = dict(sensor="WV3", method="MTF-GLP-FS")
    (on, known), (off, seen) = (
        sharpened(
            [
                write(tmp_path / "pan.tif", PAIRS["WV3"]["pan"], HOLES["pan"], "nodata", GRID),
                write(
                    tmp_path / "ms.tif",
                    PAIRS["WV3"]["ms"],
                    HOLES["ms"],
                    "nodata",
                    GRID @ Affine.translation(s, 0) @ Affine.scale(4),
                ),
            ],
            tmp_path / "out.tif",
            **how,
        )
        for s in (0, 0.06)
    )
    assert np.array_equal(known, seen) and not known.all()
    assert abs(on.astype(float) - off)[:, known].mean() < 2


@pytest.mark.parametrize(
    "kind", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "int64", "uint64", "float32", "float64"]
)
@pytest.mark.parametrize("off", ["on", "shifted"])
def test_every_type(tmp_path, kind, off):
    """A mask in MS, no value that means no data: the result finds one."""
    full = min(np.iinfo(kind).max, 2047) if np.dtype(kind).kind in "iu" else 2047
    pair = {k: (v*(full/2047.)).astype(kind) for k, v in PAIRS["QB"].items()}
    paths = place(tmp_path, pair, "ms", "internal mask", off, 0, kind)
    image, valid = sharpened(paths, tmp_path/"out.tif", sensor="QB", method="EXP", full_scale=full)
    assert image.dtype == kind and 0 < (~valid).sum() < valid.size/4


def test_bands_of_two_types(tmp_path):
    write(tmp_path/"pan.tif", PAIRS["QB"]["pan"], np.zeros((4*SIDE,)*2, bool), "internal mask", GRID)
    write(tmp_path/"a.tif", PAIRS["QB"]["ms"]//8, np.zeros((SIDE,)*2, bool), "internal mask", GRID @ Affine.scale(4))
    kinds = ["uint8", "uint16", "uint8", "int16"]
    write_vrt(tmp_path/"mixed.vrt", "a.tif", (SIDE, SIDE), kinds, GRID @ Affine.scale(4))
    mixed, plain = (
        ssdiff.sharpen(tmp_path / "pan.tif", tmp_path / n, sensor="QB", method="EXP") for n in ("mixed.vrt", "a.tif")
    )
    assert mixed.dtype == np.int32 and np.array_equal(mixed, plain)


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
@pytest.mark.parametrize("which", HOLES)
def test_masked_arrays(which, dtype):
    pair = {k: v.astype(dtype) for k, v in PAIRS["QB"].items()}
    made = []
    for hidden in (0, 30_000):
        pair[which] = np.ma.masked_array(
            np.where(HOLES[which], hidden, PAIRS["QB"][which]).astype(dtype),
            np.broadcast_to(HOLES[which], pair[which].shape),
        )
        made.append(ssdiff.sharpen(**pair, sensor="QB", method="MTF-GLP-FS"))
    want = expected(which, HOLES[which])
    for x in made:
        assert np.ma.isMaskedArray(x) and x.dtype == dtype and np.array_equal(~x.mask, np.broadcast_to(want, x.shape))
    assert np.array_equal(*(x.compressed() for x in made))


def test_one_masked_band_is_a_masked_pixel():
    mask = np.zeros(PAIRS["QB"]["ms"].shape, bool); mask[2, 9, 9] = True
    made = ssdiff.sharpen(PAIRS["QB"]["pan"], np.ma.masked_array(PAIRS["QB"]["ms"], mask), sensor="QB", method="EXP")
    assert made.mask[:, 36:40, 36:40].all() and made.mask.sum() == 4*16


def test_arrays_of_whole_numbers_say_where_there_are_no_data():
    pan = PAIRS["QB"]["pan"].astype("f4"); pan[:, HOLES["pan"]] = np.nan
    made = ssdiff.sharpen(pan, PAIRS["QB"]["ms"], sensor="QB", method="EXP")
    assert np.array_equal(made.mask[0], HOLES["pan"]) and not made.data[:, HOLES["pan"]].any() and made.fill_value == 0
    with pytest.warns(UserWarning, match="pixels without data are -2147483648"):
        tensor = ssdiff.sharpen(
            torch.from_numpy(pan), torch.from_numpy(PAIRS["QB"]["ms"].astype("i4")), sensor="QB", method="EXP"
        )
    assert isinstance(tensor, torch.Tensor)


def test_no_hole_no_mask():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert type(ssdiff.sharpen(PAIRS["QB"]["pan"], PAIRS["QB"]["ms"], sensor="QB", method="EXP")) is np.ndarray


@pytest.mark.parametrize("off", ["on", "shifted"])
def test_windows_leave_no_trace_beside_holes(tmp_path, off):
    paths = place(tmp_path, PAIRS["QB"], "ms", "alpha first", off, 60_000)
    for how in (dict(method="BDSD-PC"), dict(method="SSDiff", weights=toy_network(), steps=1)):
        whole, part = (sharpened(paths, tmp_path/"out.tif", sensor="QB", window=w, **how)[0] for w in (1024, 48))
        assert abs(whole.astype(int) - part).max() <= (how["method"] != "SSDiff")


def test_a_dark_band_is_data_and_a_black_collar_without_a_word_too(tmp_path):
    ms = PAIRS["QB"]["ms"].copy(); ms[3, :10] = 0; ms[:, 20:, :8] = 0
    write(tmp_path/"pan.tif", PAIRS["QB"]["pan"], np.zeros((4*SIDE,)*2, bool), "internal mask", GRID)
    for nodata, holes in ((None, 0), (0, 12*8*16)):
        with rasterio.open(
            tmp_path / "ms.tif",
            "w",
            driver="GTiff",
            count=4,
            height=SIDE,
            width=SIDE,
            dtype="uint16",
            transform=GRID @ Affine.scale(4),
            crs="EPSG:32633",
            nodata=nodata,
        ) as d:
            d.write(ms)
        assert (
            ~sharpened((tmp_path / "pan.tif", tmp_path / "ms.tif"), tmp_path / "out.tif", sensor="QB", method="EXP")[1]
        ).sum() == holes


@st.composite
def scenes(draw):
    "A pair of any band count and type with a hole of any form, said in any way, on any grid."
    name = draw(st.sampled_from(["QB", "WV3"])); bands = draw(st.integers(1, SENSORS[name].n_bands))
    which, off = draw(st.sampled_from(sorted(HOLES))), draw(st.sampled_from(sorted(OFF)))
    dtype = draw(st.sampled_from(["uint8", "uint16", "int16", "int32", "float32", "float64"]))
    full = 255 if dtype == "uint8" else 2047
    pair = {
        k: (v[:bands] * (full / 2047.0)).astype(dtype).clip(1, full - 2 if full == 255 else None)
        for k, v in PAIRS[name].items()
    }
    rng, n = np.random.default_rng(draw(st.integers(0, 2**32 - 1))), SIDE if which == "ms" else 4*SIDE
    hole = rng.random((n, n)) < draw(st.sampled_from([.001, .02, .5]))
    y, x, h, w = rng.integers(0, n, 4); hole[y:y+h//2, x:x+w//2] = True
    return (
        SENSORS[name].first(bands),
        pair,
        which,
        off,
        dtype,
        full,
        hole,
        draw(st.sampled_from(sources(dtype, len(pair[which])))),
    )


@settings(
    max_examples=40 * TIMES,
    deadline=None,
    derandomize=TIMES == 1,
    suppress_health_check=list(HealthCheck),
    database=None,
)
@given(scenes(), st.sampled_from(["EXP", "MTF-GLP-FS", "BT-H"]), st.sampled_from([None, 64]))
def test_any_hole_said_in_any_way(tmp_path_factory, scene, method, window):
    "Where the data are; that what is hidden does not matter; that far from every hole all is as without it."
    sensor, pair, which, off, dtype, full, hole, source = scene
    folder, how = tmp_path_factory.mktemp("any"), dict(sensor=sensor, method=method, full_scale=full, window=window)
    to = None if off == "on" else ~(OFF[off] @ Affine.scale(4)) @ Affine.scale(4)
    want = expected(which, hole, to) & expected("ms", np.zeros((SIDE,)*2, bool), to)
    if not want.any(): return
    made = [
        sharpened(place(folder, pair, which, source, off, hidden, dtype, hole), folder / "out.tif", **how)
        for hidden in (1, 200)
    ]
    for image, valid in made:
        assert np.array_equal(valid, want) and np.array_equal(image[:, valid], made[0][0][:, valid])
    if method != "EXP": return
    plain, seen = sharpened(
        place(folder, pair, which, "internal mask", off, 1, dtype, hole & False), folder / "plain.tif", **how
    )
    far = (
        distance_transform_cdt(
            np.pad(want, 1, constant_values=True) | ~np.pad(seen, 1, constant_values=True), "chessboard"
        )[1:-1, 1:-1]
        > LOOKS["EXP"]
    )
    near_value = 1 if np.dtype(dtype).kind in "iu" else 0  # a value moves off the one that means no data
    assert abs(plain.astype(float) - made[0][0])[:, far & want].max(initial=0) <= near_value
