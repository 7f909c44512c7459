"""What the reader and the writer of image files refuse, and in which words."""
from importlib.resources import files

import h5py
import numpy as np
import pytest

from ssdiff.checking import check_file
from ssdiff.data import PanData, prepare
from ssdiff.pancollection import file_name, find_file, toy_arrays, write_file


@pytest.fixture
def good(tmp_path): return write_file(tmp_path/"train_wv3.h5", toy_arrays())


def refused(call, *words, error=ValueError):
    "`call` raises this very error, and its message has all of these words."
    with pytest.raises(Exception) as e: call()
    assert type(e.value) is error, repr(e.value)
    for w in words: assert w in str(e.value), (w, str(e.value))


def set_nan(a): a["gt"][1, 2, 3, 4] = np.nan
def set_infinity(a): a["lms"][:] = np.inf
def four_bands(a): a.update({k: v[:, :4] for k, v in a.items()})
def short_lms(a): a["lms"] = a["lms"][..., :32, :32]
def small_ms(a): a["ms"] = a["ms"][..., :8, :8]
def no_pan(a): a.pop("pan")
def complex_ms(a): a["ms"] = a["ms"].astype(complex)
def large_gt(a): a["gt"] *= 3
def few_gt(a): a["gt"] = a["gt"][:2]
def shares(a): a.update({k: v/2047 for k, v in a.items()})


def odd_sides(a):
    "Sides of 62 pixels, which four do not divide."
    a.update({k: v if k == "ms" else v[..., :62, :62] for k, v in a.items()})


@pytest.mark.parametrize("change, words", [
    (set_nan, ["'gt'", "NaN", "sample 1 of 3"]),
    (set_infinity, ["'lms'", "infinity"]),
    (four_bands, ["expected 8 band(s) (WV3), found 4"]),
    (short_lms, ["'lms'", "expected shape (3, 8, 64, 64)", "found (3, 8, 32, 32)"]),
    (small_ms, ["'ms'", "expected shape (3, 8, 16, 16)"]),
    (no_pan, ["'pan' missing", "found gt, lms, ms"]),
    (complex_ms, ["'ms'", "complex128"]),
    (large_gt, ["'gt'", "expected digital numbers in 0…2047"]),
    (few_gt, ["'gt'", "found (2, 8, 64, 64)"]),
    (shares, ["divided by full scale already"]),
    (odd_sides, ["'pan'", "sides that are multiples of 4, found shape (3, 1, 62, 62)"]),
])
def test_wrong_arrays(tmp_path, change, words):
    arrays = toy_arrays()
    change(arrays)
    path = write_file(tmp_path/"train_wv3.h5", arrays)
    refused(lambda: check_file(path, "WV3", "train"), "train_wv3.h5", *words)


@pytest.mark.parametrize("key", ["gt", "ms", "lms", "pan"])
def test_zeros(tmp_path, key):
    arrays = toy_arrays()
    arrays[key] *= 0
    path = write_file(tmp_path/"train_wv3.h5", arrays)
    refused(lambda: check_file(path, "WV3", "train"), f"'{key}'", "found nothing above 0", "holds no image")


def test_files_that_are_no_hdf5(tmp_path):
    path = tmp_path/"train_wv3.h5"
    refused(lambda: check_file(path, "WV3", "train"), "no such file", error=FileNotFoundError)
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1")
    refused(lambda: check_file(path, "WV3", "train"), "not an HDF5 file")


def test_links(tmp_path, good):
    path = tmp_path/"linked.h5"
    with h5py.File(path, "w") as f:
        for k, v in toy_arrays().items():
            if k != "lms": f[k] = v
        f["lms"] = h5py.ExternalLink(str(good), "lms")
    refused(lambda: check_file(path, "WV3", "train"), "links are refused")


def test_names(tmp_path, good):
    for call in (lambda: file_name("GF2", "trian"), lambda: find_file(tmp_path, "GF2", "trian"),
                 lambda: check_file(good, "WV3", "trian")):
        refused(call, "unknown split 'trian'")
    refused(lambda: find_file(tmp_path, "GF2", "full"), "no test_gf2_OrigScale_multiExm1.h5", "it holds train_wv3.h5",
            error=FileNotFoundError)
    for n in (1, 2): (tmp_path/f"valid_wv3_{n}.h5").touch()
    refused(lambda: find_file(tmp_path, "WV3", "valid"), "several files could be valid_wv3.h5", "keep one")


def test_reading(good):
    refused(lambda: PanData(good, "WV3")[3], "sample 3 of 3", error=IndexError)
    refused(lambda: PanData(good, "QB"), "expected 4 band(s) (QB), found 8")


def test_sizes_that_do_not_fit(tmp_path):
    refused(lambda: prepare("WV3", tmp_path, size=30), "size must be a multiple of 4 of at least 4")
    refused(lambda: prepare("WV3", tmp_path, size=32), "patch 64 is larger than the scenes, 32")


def test_tables_that_hold_no_numbers_or_other_sensors(tmp_path):
    for n in ("sensors.csv", "spectra.csv"): (tmp_path/n).write_bytes((files("ssdiff")/"tables"/n).read_bytes())
    refused(lambda: prepare("XY1", tmp_path, tables=tmp_path), "sensors.csv: no sensor 'XY1'")
    spectra = (tmp_path/"spectra.csv").read_text(encoding="utf-8")
    rough = spectra.replace(",soil_loam,0.16,", ",soil_loam,rough,")
    assert rough != spectra
    (tmp_path/"spectra.csv").write_text(rough, encoding="utf-8")
    message = "spectra.csv: texture, mixing and reflectance must lie in 0…1"
    refused(lambda: prepare("WV3", tmp_path, tables=tmp_path), message)
