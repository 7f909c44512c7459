"""Files as PanCollection writes them, readers in other processes, bytes that do not depend on workers."""
import hashlib
from functools import partial
from importlib.resources import files
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from ssdiff.checking import check_file
from ssdiff.data import PanData, prepare
from ssdiff.pancollection import find_file, write_file
from ssdiff.resampling import bicubic_reduce, upsample23
from ssdiff.scenes import run_many, simulate
from ssdiff.sensors import get_sensor

SMALL = dict(n_train_scenes=3, n_valid_scenes=1, n_test=2,
             size=64, patch=32, test_size=64, full_size=32, progress=False)


def published_names(sensor, samples):
    "Split and name of each file that PanCollection has of a sensor; some names tell how many samples there are."
    s = sensor.lower()
    names = dict(train=[f"train_{s}.h5", f"train_{s}_{samples}.h5"],
                 valid=[f"valid_{s}.h5", f"valid_{s}_{samples}.h5"],
                 test=[f"test_{s}_multiExm1.h5"],
                 full=[f"test_{s}_OrigScale_multiExm1.h5"])
    return [(sensor, split, name) for split in names for name in names[split]]


PANCOLLECTION = [*published_names("WV3", 9714), *published_names("QB", 17139), *published_names("GF2", 19809),
                 ("WV2", "test", "test_wv2_multiExm1.h5"), ("WV2", "full", "test_wv2_OrigScale_multiExm1.h5")]


def sha(path): return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def as_published(sensor, split, n=2):
    "Arrays of a PanCollection file: float64 digital numbers N,C,H,W, `lms` with its ringing."
    s, side = get_sensor(sensor), {"train": 64, "valid": 64, "test": 256, "full": 512}[split]
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, s.full_scale, (n, s.n_bands, side//16, side//16), endpoint=True)
    fine = blocks.repeat(16, -1).repeat(16, -2).astype(float)
    ms, pan = bicubic_reduce(fine), fine.mean(1, keepdims=True)
    if split != "full": return dict(gt=fine, ms=ms, lms=upsample23(ms), pan=pan)
    ms = np.rint(ms).clip(0, s.full_scale)  # delivered, not filtered
    return dict(ms=ms, lms=upsample23(ms), pan=pan)


@pytest.mark.parametrize("sensor, split, name", PANCOLLECTION)
def test_published_names_and_layout_load(tmp_path, sensor, split, name):
    arrays = as_published(sensor, split, 2 if split != "full" else 1)
    with h5py.File(tmp_path/name, "w") as f:  # as the published generator does: contiguous, float64
        for k, v in arrays.items(): f.create_dataset(k, data=v)
    path = find_file(tmp_path, sensor, split)
    assert path.name == name
    assert check_file(path, sensor, split) == {k: v.shape for k, v in arrays.items()}
    item = PanData(path, sensor)[-1]
    assert list(item) == list(arrays)
    full_scale = np.float32(get_sensor(sensor).full_scale)
    for k, v in item.items():
        np.testing.assert_array_equal(v.numpy(), v.numpy().dtype.type(arrays[k][-1]) / full_scale)
    ringing = ["lms"] if split == "full" else ["lms", "ms"]
    assert all(arrays[k].min() < 0 for k in ringing)  # which the check must allow


@pytest.mark.parametrize("dtype", ["u2", "i4", "f4", "f8", ">f8"])
def test_any_real_dtype_reads_alike(tmp_path, dtype):
    arrays = {k: np.rint(v).clip(0, 2047) for k, v in as_published("WV3", "train").items()}
    path = write_file(tmp_path/"train_wv3.h5", {k: v.astype(dtype) for k, v in arrays.items()})
    check_file(path, "WV3", "train")
    np.testing.assert_array_equal(PanData(path, "WV3")[0]["lms"].numpy(), (arrays["lms"][0] / 2047).astype(np.float32))


@pytest.mark.parametrize("share", [.02, .3, .7, .99])
def test_truncated_file_is_named(tmp_path, share):
    path = write_file(tmp_path/"train_wv3.h5", as_published("WV3", "train"))
    path.write_bytes(path.read_bytes()[:int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match="train_wv3.h5: truncated or damaged HDF5"): check_file(path, "WV3", "train")
    with pytest.raises(ValueError, match="train_wv3.h5: truncated or damaged HDF5"): PanData(path, "WV3")


@pytest.mark.parametrize("kind", ["soft", "external", "storage", "virtual", "group"])
def test_content_outside_the_dataset_is_refused(tmp_path, kind):
    arrays = as_published("WV3", "train")
    other = write_file(tmp_path/"other.h5", arrays)
    path, shape = tmp_path/"train_wv3.h5", arrays["lms"].shape
    with h5py.File(path, "w") as f:
        for k, v in arrays.items():
            if k != "lms": f[k] = v
        if kind == "soft": f["lms"] = h5py.SoftLink("/gt")
        if kind == "external": f["lms"] = h5py.ExternalLink(str(other), "lms")
        if kind == "storage":
            raw = [(str(tmp_path/"raw"), 0, h5py.h5f.UNLIMITED)]
            f.create_dataset("lms", shape, "f8", external=raw)
        if kind == "virtual":
            layout = h5py.VirtualLayout(shape, "f8")
            layout[...] = h5py.VirtualSource(str(other), "lms", shape)
            f.create_virtual_dataset("lms", layout)
        if kind == "group": f.create_group("lms")
    with pytest.raises(ValueError, match=r"train_wv3.h5: key 'lms': expected"): check_file(path, "WV3", "train")


def test_bytes_do_not_depend_on_workers_or_threads(tmp_path):
    one = prepare("WV3", tmp_path/"one", workers=1, **SMALL)
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    two = prepare("WV3", tmp_path/"two", workers=2, **SMALL)
    assert torch.get_num_threads() == 4
    torch.set_num_threads(threads)
    assert {k: sha(p) for k, p in one.items()} == {k: sha(p) for k, p in two.items()}
    assert not list(tmp_path.rglob("*.tmp"))


def test_scenes_of_many_processes_come_in_order():
    many = list(run_many(partial(simulate, "QB", size=32), [5, 3, 9], workers=2, progress=False))
    for seed, m in zip([5, 3, 9], many):
        for k, v in simulate("QB", seed, 32).items(): np.testing.assert_array_equal(m[k], v)


def test_an_error_in_a_worker_arrives_and_leaves_nothing(tmp_path):
    wrong = {**SMALL, "full_size": 4, "n_train_scenes": 0, "n_valid_scenes": 0, "n_full": 3}
    with pytest.raises(ValueError, match="too small"): prepare("WV3", tmp_path, workers=2, **wrong)
    assert [p.name for p in tmp_path.iterdir()] == ["test_wv3_multiExm1.h5"]


SLACKS = dict(train=dict(gt=0, ms=.1, pan=.1, lms=.5),
              test=dict(gt=0, ms=.1, pan=.1, lms=.5),
              full=dict(ms=0, pan=0, lms=.5))


@pytest.mark.parametrize("sensor", ["WV3", "GF2"])
@pytest.mark.parametrize("split, key, slack", [(s, k, x) for s, slacks in SLACKS.items() for k, x in slacks.items()])
def test_only_filtered_values_may_leave_full_scale(tmp_path, sensor, split, key, slack):
    full, path = get_sensor(sensor).full_scale, tmp_path/"some.h5"
    allowed = f"with {slack:.0%} for ringing" if slack else "no slack"
    for value in (full*(1 + slack), -full*slack):
        arrays = as_published(sensor, split, 1)
        arrays[key][0, 0, 1, 2] = value
        check_file(write_file(path, arrays), sensor, split)
        arrays[key][0, 0, 1, 2] = beyond = value + (1 if value > 0 else -1)
        message = rf"some.h5: key '{key}': expected digital numbers in 0…{full} \({allowed}.*{beyond:.6g}"
        with pytest.raises(ValueError, match=message): check_file(write_file(path, arrays), sensor, split)


@pytest.mark.parametrize("split, key", [("train", "gt"), ("test", "ms"), ("full", "pan"), ("full", "lms")])
def test_zeros_are_not_called_scaled(tmp_path, split, key):
    arrays = as_published("WV3", split, 1)
    messages = {0: "found nothing above 0; the array holds no image", 1/2047: "divided by full scale already"}
    for factor, message in messages.items():
        path = write_file(tmp_path/"some.h5", {**arrays, key: arrays[key]*factor})
        with pytest.raises(ValueError, match=f"some.h5: key '{key}': .*{message}"): check_file(path, "WV3", split)


def own_tables(folder, name=None, old="", new=""):
    "Copies of the package's tables, with one change in one of them."
    folder.mkdir()
    for n in ("sensors.csv", "spectra.csv"):
        text = (files("ssdiff")/"tables"/n).read_text(encoding="utf-8")
        assert n != name or old in text
        (folder/n).write_text(text.replace(old, new) if n == name else text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("change", [
    ("spectra.csv", ",soil_loam,0.16,", ",soil_loam,0.36,"),
    ("sensors.csv", "WV3,coastal,425,400,450,", "WV3,coastal,430,410,450,"),
])
def test_own_tables_reach_spawned_workers(tmp_path, change):
    tables, few = own_tables(tmp_path/"tables", *change), {**SMALL, "n_train_scenes": 0, "n_valid_scenes": 0}
    plain = prepare("WV3", tmp_path/"plain", workers=1, **few)
    one, two = (prepare("WV3", tmp_path/str(n), workers=n, tables=tables, **few) for n in (1, 2))
    for k in plain: assert sha(one[k]) == sha(two[k]) != sha(plain[k])


def test_wrong_own_tables_are_named(tmp_path):
    tables = own_tables(tmp_path/"tables")
    message = r"sensors.csv: no sensor 'SPOT'; it has WV3"
    with pytest.raises(ValueError, match=message): prepare("SPOT", tmp_path, tables=tables)
    (tables/"sensors.csv").write_text("sensor,band\nWV3,pan\n")
    with pytest.raises(ValueError, match=r"sensors.csv: missing column"): prepare("WV3", tmp_path, tables=tables)
    (tables/"spectra.csv").write_bytes(b"\xff\xfe")
    message = r"spectra.csv: expected a CSV table of spectra in UTF-8"
    with pytest.raises(ValueError, match=message): prepare("WV3", tmp_path, tables=tables)
    nowhere = tmp_path/"nowhere"
    with pytest.raises(FileNotFoundError, match="nowhere.spectra.csv"): prepare("WV3", tmp_path, tables=nowhere)


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_see_what_one_process_sees(tmp_path, context):
    data = PanData(write_file(tmp_path/"train_wv3.h5", as_published("WV3", "train", 6)), "WV3")
    data[0]  # the parent holds an open handle
    loader = DataLoader(data, 2, num_workers=2, multiprocessing_context=context, persistent_workers=True)
    for _ in range(2):
        for k in data.keys:
            assert torch.equal(torch.cat([b[k] for b in loader]), torch.stack([data[i][k] for i in range(6)]))
