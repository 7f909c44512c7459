"""Kernels, reductions and Wald's protocol refuse wrong gains, ratios and sizes, and say why."""
import numpy as np
import pytest

from ssdiff.mtf import mtf_kernel, pan_mtf_blur
from ssdiff.resampling import bicubic_reduce, decimate, wald

MS, PAN = np.ones((4, 32, 32)), np.ones((1, 128, 128))


@pytest.mark.parametrize("call, message", [
    (lambda: mtf_kernel(1.), "gain must lie between 0 and 1, got 1.0"),
    (lambda: mtf_kernel(.3, 2.5), "ratio must be a whole number"),
    (lambda: pan_mtf_blur(np.ones((8, 40, 48)), "GF2"), "pan: needs 1 band(s), got 8"),
    (lambda: bicubic_reduce(MS, 0), "ratio must be a whole number of at least 2, got 0"),
    (lambda: decimate(MS, 0), "ratio must be a whole number of at least 2, got 0"),
    (lambda: wald(MS, PAN[:, :-4], "QB"), "pan is (124, 128) but ms (32, 32)"),
    (lambda: wald(MS[:, :30], PAN[:, :120], "QB"), "multiples of 4"),
    (lambda: wald(MS, PAN, "QB", 0), "ratio must be a whole number of at least 2, got 0"),
])
def test_wrong_arguments_are_refused(call, message):
    with pytest.raises(ValueError) as e: call()
    assert message in str(e.value)
