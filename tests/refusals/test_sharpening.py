"""What the sharpening of a scene refuses: odd windows, pairs and numbers, unknown methods, wrong weights."""
import numpy as np
import pytest

from ssdiff.baselines import create
from ssdiff.scenes import simulate
from ssdiff.sensors import SENSORS
from ssdiff.pairs import ArrayScene, check_scene, windows
from ssdiff.catalogue import get_method
from ssdiff.network import toy_network
from ssdiff.sharpening import sharpen_arrays

pytestmark = pytest.mark.usefixtures("one_thread")
QB, WV3 = SENSORS["QB"], SENSORS["WV3"]
PAN, MS = (simulate("QB", 3, 48)[k] for k in ("pan", "ms"))


def refused(f, words, kind=ValueError):
    "`f` raises an error of this kind whose message has these words."
    with pytest.raises(kind) as e: f()
    assert words in str(e.value), str(e.value)


def test_a_window_that_is_no_multiple_of_four(): refused(lambda: windows((40, 64), 34), "multiple of 4")


def test_a_pair_of_other_sizes(): refused(lambda: ArrayScene(PAN[:, 4:], MS), "four times ms")


@pytest.mark.parametrize("pan, words", [
    (PAN*9, "above the full scale 2047 of QB"),
    (np.full(PAN.shape, 2100.), "the largest value is 2100"),
    (PAN*np.nan, "no pixel where both"),
    (np.where(PAN > 900, -9999., PAN), "if it means no data, say so"),
], ids=["bright", "whole numbers above full scale", "no data", "far below zero"])
def test_numbers_that_the_sensor_cannot_have_delivered(pan, words):
    refused(lambda: check_scene(ArrayScene(pan, MS), QB, windows(PAN.shape[1:], 64)), words)


def test_shares_for_a_network():
    shares = ArrayScene(PAN/2048, MS/2048)
    refused(lambda: check_scene(shares, QB, windows(shares.shape, 64), learned=True), "say so (full_scale=1")


@pytest.mark.parametrize("call, words, kind", [
    (lambda: get_method("SSDiff", QB.first(3)), "brings no weights of SSDiff for 3 bands", FileNotFoundError),
    (lambda: get_method("pnn", QB.first(3)), "brings no weights of PNN", FileNotFoundError),
    (lambda: get_method("SSDiff", QB, "nothing.safetensors"), "no weights at", FileNotFoundError),
    (lambda: get_method("SSDiff", QB, 64.), "weights need the path of a file, got a float", TypeError),
    (lambda: get_method("SSDiff", QB, toy_network(), device=2+0j), "device (2+0j) cannot be used", ValueError),
    (lambda: get_method("SSDiff", QB, toy_network(), device=True), "device True cannot be used", ValueError),
    (lambda: get_method("SSDiff", WV3, toy_network()), "the weights are for 4 bands but WV3 has 8", ValueError),
    (lambda: get_method("bt-h", QB, steps=3), "BT-H has no weights and takes no steps", ValueError),
    (lambda: get_method("PNN", QB, create("PNN", 4), steps=3), "takes no steps", ValueError),
], ids=["three bands", "three bands of PNN", "no file", "no path", "no device", "a bool",
        "other bands", "steps of BT-H", "steps of PNN"])
def test_methods_that_cannot_be_had(call, words, kind): refused(call, words, kind)


def test_samples_of_a_method_that_draws_none():
    refused(lambda: sharpen_arrays(PAN, MS, "QB", get_method("EXP", QB), samples=2), "needs a method that samples")
