"""What SSDiff and `load` refuse, and in which words."""
import json
from contextlib import contextmanager

import pytest
import torch
from safetensors.torch import save_file

from ssdiff.inputs import toy_batch
from ssdiff.network import SSDiff, load, save


@contextmanager
def refused(words, error=ValueError):
    """Within it this very type of error is raised, with these words in its message."""
    with pytest.raises(Exception) as e: yield
    assert type(e.value) is error and words in str(e.value), repr(e.value)


@pytest.fixture(scope="module")
def net():
    """The network of eight bands, which is never trained here."""
    return SSDiff()


def answer(net, **change):
    """The network's estimate for a batch of two images of eight bands, some inputs changed."""
    b = toy_batch(size=32)
    images = dict(x_t=b["lms"], t=5, pan=b["pan"], lms=b["lms"], ms=b["ms"])
    return net(**{**images, **{k: f(images[k]) for k, f in change.items()}})


@pytest.mark.parametrize("change, words, error", [
    (dict(t=lambda t: 1001), "t must lie in 0-1000, found 1001", ValueError),
    (dict(t=lambda t: torch.tensor([1, 2, 3])), "one for each of 2 images", ValueError),
    (dict(ms=lambda x: x[:, :4]), "ms has shape", ValueError),
    (dict(x_t=lambda x: x * float("nan")), "x_t holds NaN", ValueError),
    (dict(pan=lambda x: 2047 * x), "divide by the sensor's full scale first", ValueError),
    (dict(x_t=torch.Tensor.double), "x_t is torch.float64", TypeError),
    ({k: torch.Tensor.double for k in ("x_t", "pan", "lms", "ms")}, "the network is torch.float32", TypeError),
])
def test_images_and_steps(net, change, words, error):
    with refused(words, error): answer(net, **change)


def test_images_of_other_bands():
    with refused("lms has shape (2, 8, 32, 32), expected (2, 4, 32, 32)"): answer(SSDiff(4))


@pytest.mark.parametrize("given, words", [
    *((dict(window=x), "window must be") for x in (0, -4, 30, 1.5, None, True)),
    *((dict(bands=x), "bands must be a whole number from 1 to 512") for x in (0, 513, 4.5, True, None)),
    (dict(variant=[]), "choose one of"),
    (dict(variant="V6"), "choose one of V1, V2, V3, V4, V5"),
])
def test_a_network_that_cannot_be(given, words):
    with refused(words): SSDiff(**given)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A V4 of four bands and the file that it was saved to."""
    path, net = tmp_path_factory.mktemp("saved") / "net.safetensors", SSDiff(4, "V4")
    save(net, path, sensor="QB", full_scale=2047, scale=0.06, profile="demo", commit="abc")
    return net, path


def load_changed(net, path, tensors=None, leave_out=(), **header):
    """Load a copy of a network's file, made by hand with other tensors or another header."""
    meta = {k: v for k, v in {**net.meta, **header}.items() if k not in leave_out}
    text = json.dumps({**meta, "format": "ssdiff", "version": "1"})
    tensors = {k: v.contiguous() for k, v in (tensors or net.state_dict()).items()}
    save_file(tensors, path, metadata=dict(header=text))
    return load(path)


def test_the_copy_by_hand_loads_when_nothing_is_changed(saved, tmp_path):
    """The control: what the next tests change is what they are refused for."""
    assert load_changed(saved[0], tmp_path / "same.safetensors").meta["variant"] == "V4"


WRONG = dict(variant=([], {}, None, "V9"),
             schedule=({}, [], "quadratic"),
             bands=("4", 1e30, 10**9, 0, True, 4.0),
             window=(0, 30, 1e30, 10**400),
             scale=(float("inf"), float("nan"), 0, "1", 10**400),
             steps=(10**30, 0, 1.5),
             fmim=(1, []),
             normalise=(-1, 2, "0.2", None))


CASES = [(k, v) for k, values in WRONG.items() for v in values]


@pytest.mark.parametrize("key, value", CASES, ids=lambda x: str(x)[:9])
def test_a_header_that_cannot_be_right(saved, tmp_path, key, value):
    with refused(f"{key} cannot be {value!r}"): load_changed(saved[0], tmp_path / "bad.safetensors", **{key: value})


@pytest.mark.parametrize("header, words", [
    (dict(leave_out=["form"]), "cannot see the step t"),
    (dict(form=3), "form 3"),
    (dict(variant="V5"), "does not fit its header"),
    (dict(bands=8), "expected torch.float32 ("),
])
def test_a_header_of_another_network(saved, tmp_path, header, words):
    with refused(words): load_changed(saved[0], tmp_path / "bad.safetensors", **header)


def test_numbers_that_are_none(saved, tmp_path):
    numbers = {k: v * float("nan") for k, v in saved[0].state_dict().items()}
    with refused("holds NaN"): load_changed(saved[0], tmp_path / "bad.safetensors", numbers)


def test_other_files(saved, tmp_path):
    net, whole = saved
    bad = tmp_path / "bad.safetensors"
    with refused(f"no weights at {bad}", FileNotFoundError): load(bad)
    bad.write_bytes(whole.read_bytes()[:1000])
    with refused("not a readable safetensors file"): load(bad)
    torch.save(net.state_dict(), bad)
    with refused("not a readable safetensors file"): load(bad)
    save_file({"a": torch.zeros(1)}, bad)
    with refused("no ssdiff weights file"): load(bad)
