"""Sharpening arrays: the windows leave no trace, whatever the method, the size, the holes."""
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

import ssdiff
from ssdiff.baselines import create
from ssdiff.classical import METHODS
from ssdiff.scenes import simulate
from ssdiff.sensors import SENSORS
from ssdiff.catalogue import get_method
from ssdiff.methods import network_method
from ssdiff.network import toy_network
from ssdiff.sharpening import sharpen_arrays

pytestmark = pytest.mark.usefixtures("one_thread")
FITTED = ("BT-H", "BDSD-PC", "MTF-GLP-FS")


@pytest.fixture(scope="module")
def pairs(): return {name: {k: v.astype(float) for k, v in simulate(name, 5, 60).items()} for name in ("QB", "WV3")}


@pytest.mark.parametrize("sensor", ["QB", "WV3"])  # with four bands the haze is a percentile, with eight a minimum
@pytest.mark.parametrize("name", FITTED)
def test_windows_give_what_the_whole_gives(pairs, sensor, name):
    method, pair = get_method(name, SENSORS[sensor]), pairs[sensor]
    whole = sharpen_arrays(**pair, sensor=sensor, method=method, window=1024)
    parts = sharpen_arrays(**pair, sensor=sensor, method=method, window=72)
    assert (abs(parts - whole) <= 1e-6*abs(whole)).all()
    assert abs(whole - sharpen_arrays(**pair, sensor=sensor, method=get_method("EXP", SENSORS[sensor]))).mean() > 1


@pytest.mark.parametrize("name", METHODS)
def test_equals_the_method_itself_where_the_border_is_calm(pairs, name):
    wide = lambda x, k: np.pad(x, ((0, 0), (k, k), (k, k)), constant_values=400.)
    pan, ms = wide(pairs["WV3"]["pan"], 160), wide(pairs["WV3"]["ms"], 40)
    np.testing.assert_allclose(
        sharpen_arrays(pan, ms, "WV3", get_method(name, SENSORS["WV3"]), window=128),
        METHODS[name](ms, pan, "WV3").clip(-2047, 2047),
        rtol=1e-7,
    )


@settings(max_examples=8, deadline=None)
@given(rows=st.integers(8, 30), columns=st.integers(8, 30),
       window=st.sampled_from([32, 36, 60]), name=st.sampled_from(FITTED))
def test_any_size(pairs, rows, columns, window, name):
    ms, pan = pairs["QB"]["ms"][:, :rows, :columns], pairs["QB"]["pan"][:, :4*rows, :4*columns]
    method = get_method(name, SENSORS["QB"])
    parts, whole = (sharpen_arrays(pan, ms, "QB", method, window=w) for w in (window, None))
    np.testing.assert_allclose(parts, whole, rtol=1e-7, atol=1e-7)


NETS = toy_network(), create("PNN", 4), create("LAGConv", 4), create("PanDiff", 4, width=8)

@pytest.mark.parametrize("net", NETS, ids=lambda n: type(n).__name__)
def test_networks_to_the_last_bit(pairs, net):
    ms, pan = pairs["QB"]["ms"][:, :31, :26], pairs["QB"]["pan"][:, :124, :104]
    method = network_method(net, "QB", steps=2 if net.diffusion else None)
    once = sharpen_arrays(pan, ms, "QB", method, window=1024, seed=4)
    assert np.array_equal(sharpen_arrays(pan, ms, "QB", method, window=44, seed=4), once)


def test_seeds(pairs):
    ms, pan = pairs["QB"]["ms"][:, :16, :16], pairs["QB"]["pan"][:, :64, :64]
    method = lambda: get_method("SSDiff", SENSORS["QB"], toy_network(), steps=1)
    draw = lambda seed: sharpen_arrays(pan, ms, "QB", method(), seed=seed)
    assert np.array_equal(draw(1), draw(1)) and not np.array_equal(draw(1), draw(2))


@pytest.mark.parametrize("name", ["BT-H", "BDSD-PC", "SSDiff"])
def test_holes_stay_holes_and_their_fill_does_not_depend_on_windows(pairs, name):
    pan, ms = pairs["QB"]["pan"].copy(), pairs["QB"]["ms"].copy()
    pan[:, 30:150, 70:110] = pan[:, :4] = ms[:, 20:22, 20:50] = np.nan
    method = get_method(name, SENSORS["QB"], *([toy_network(), 1] if name == "SSDiff" else []))
    whole = sharpen_arrays(pan, ms, "QB", method)
    assert np.array_equal(np.isnan(whole).any(0), np.isnan(pan[0]) | np.isnan(ms[0]).repeat(4, 0).repeat(4, 1))
    np.testing.assert_allclose(sharpen_arrays(pan, ms, "QB", method, window=64), whole, rtol=1e-7)


def test_a_hole_does_not_bleed(pairs):
    """A hole hardly changes its surroundings; a wild value in its place that is taken for data does."""
    pan, ms = pairs["QB"]["pan"], pairs["QB"]["ms"]
    holed, wild = pan.copy(), pan.copy()
    holed[:, 100:120, 100:120], wild[:, 100:120, 100:120] = np.nan, 0
    method = get_method("MTF-GLP-FS", SENSORS["QB"])
    true, found, bad = (sharpen_arrays(p, ms, "QB", method) for p in (pan, holed, wild))
    near = np.zeros(pan.shape[1:], bool)
    near[92:128, 92:128] = True
    near[100:120, 100:120] = False
    assert abs(found - true)[:, near].mean() < .5*abs(bad - true)[:, near].mean()


def test_what_comes_in_decides_what_comes_out(pairs):
    pan, ms = pairs["QB"]["pan"], pairs["QB"]["ms"]
    sharpen = lambda pan, ms, method="EXP": ssdiff.sharpen(pan, ms, sensor="QB", method=method)
    for dtype in (np.uint16, np.int32, np.float32, np.float64):
        assert sharpen(pan.astype(dtype), ms.astype(dtype), "exp").dtype == dtype
    assert isinstance(sharpen(torch.from_numpy(pan), torch.from_numpy(ms)), torch.Tensor)
    assert sharpen(pan[0], ms).shape == (4, *pan.shape[1:])
    assert sharpen(pan.astype(np.uint16), ms.astype(np.uint16), "BT-H").max() <= 2047


@pytest.mark.parametrize("change, message", [
    (dict(sensor="WV3"), "ms has 4 bands but WV3 has 8"),
    (dict(sensor="nowhere"), "unknown sensor"),
    (dict(method="sharp"), "is unknown; known are"),
    (dict(window=30), "window must be"),
    (dict(full_scale=50), "above the full scale 50"),
    (dict(full_scale=-1), "positive"),
    (dict(samples=2), "needs a method that samples"),
    (dict(steps=3), "takes no steps"),
    (dict(samples=0), "samples must be"),
    (dict(method="PNN"), "brings no weights"),
    (dict(method="SSDiff", weights="no.safetensors"), "no weights at"),
    (dict(keep_weights="w"), "keeps what adapt makes"),
    (dict(scheduler="tcp://x"), "are for files"),
    (dict(method="SSDiff", weights=toy_network(8)), "for 8 bands but QB has 4"),
], ids=lambda v: "-".join(v) if isinstance(v, dict) else "")
def test_bad_wishes_get_one_error(pairs, change, message):
    wishes = {"sensor": "QB", "method": "BT-H", **change}
    with pytest.raises((ValueError, OSError), match=message):
        ssdiff.sharpen(pairs["QB"]["pan"], pairs["QB"]["ms"], **wishes)
