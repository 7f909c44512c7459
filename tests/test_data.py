"""Files as PanCollection writes them, readers in other processes, bytes that do not depend on workers."""
import hashlib
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from ssdiff.data import PanData, check_file, find_file, prepare, write_file
from ssdiff.resampling import bicubic_reduce, upsample23
from ssdiff.scenes import simulate, simulate_many
from ssdiff.sensors import get_sensor

SMALL = dict(n_train_scenes=3, n_valid_scenes=1, n_test=2, size=64, patch=32, test_size=64, full_size=32, progress=False)
PANCOLLECTION = [(s, split, name) for s, n in (("WV3", 9714), ("QB", 17139), ("GF2", 19809)) for split, names in (
    ("train", (f"train_{s.lower()}.h5", f"train_{s.lower()}_{n}.h5")), ("valid", (f"valid_{s.lower()}.h5", f"valid_{s.lower()}_{n}.h5")),
    ("test", (f"test_{s.lower()}_multiExm1.h5",)), ("full", (f"test_{s.lower()}_OrigScale_multiExm1.h5",))) for name in names]
PANCOLLECTION += [("WV2", "test", "test_wv2_multiExm1.h5"), ("WV2", "full", "test_wv2_OrigScale_multiExm1.h5")]


def sha(path): return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def as_published(sensor, split, n=2):
    "Arrays of a PanCollection file: float64 digital numbers N,C,H,W, `lms` with its ringing, no `gt` at full resolution."
    s, side = get_sensor(sensor), {"train": 64, "valid": 64, "test": 256, "full": 512}[split]
    rng = np.random.default_rng(0)
    fine = rng.integers(0, s.full_scale, (n, s.n_bands, side//16, side//16), endpoint=True).repeat(16, -1).repeat(16, -2).astype(float)
    ms = bicubic_reduce(fine)
    return {**({} if split == "full" else dict(gt=fine)), "ms": ms, "lms": upsample23(ms), "pan": fine.mean(1, keepdims=True)}


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
    for k, v in item.items(): np.testing.assert_array_equal(v.numpy(), v.numpy().dtype.type(arrays[k][-1]) / np.float32(get_sensor(sensor).full_scale))
    assert arrays["lms"].min() < 0  # the ringing that the check must allow


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
    path = tmp_path/"train_wv3.h5"
    with h5py.File(path, "w") as f:
        for k, v in arrays.items():
            if k != "lms": f[k] = v
        if kind == "soft": f["lms"] = h5py.SoftLink("/gt")
        if kind == "external": f["lms"] = h5py.ExternalLink(str(other), "lms")
        if kind == "storage": f.create_dataset("lms", arrays["lms"].shape, "f8", external=[(str(tmp_path/"raw"), 0, h5py.h5f.UNLIMITED)])
        if kind == "virtual":
            layout = h5py.VirtualLayout(arrays["lms"].shape, "f8"); layout[...] = h5py.VirtualSource(str(other), "lms", arrays["lms"].shape)
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


def test_simulate_many_is_simulate_in_order():
    many = list(simulate_many("QB", [5, 3, 9], 32, workers=2, progress=False))
    for seed, m in zip([5, 3, 9], many):
        for k, v in simulate("QB", seed, 32).items(): np.testing.assert_array_equal(m[k], v)


def test_an_error_in_a_worker_arrives_and_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="too small"): prepare("WV3", tmp_path, workers=2, **{**SMALL, "full_size": 4, "n_train_scenes": 0, "n_valid_scenes": 0, "n_full": 3})
    assert [p.name for p in tmp_path.iterdir()] == ["test_wv3_multiExm1.h5"]


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_see_what_one_process_sees(tmp_path, context):
    data = PanData(write_file(tmp_path/"train_wv3.h5", as_published("WV3", "train", 6)), "WV3", crop=32, augment=True, seed=4)
    data[0]  # the parent holds an open handle
    loader = DataLoader(data, 2, num_workers=2, multiprocessing_context=context, persistent_workers=True)
    for epoch in range(2):
        data.set_epoch(epoch)
        for k, v in ((k, torch.cat([b[k] for b in loader])) for k in ("gt", "ms")): assert torch.equal(v, torch.stack([data[i][k] for i in range(6)]))
