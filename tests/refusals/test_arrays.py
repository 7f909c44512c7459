"""Images and counts that do not fit are refused by name, before anything is computed from them."""
import numpy as np
import pytest
import torch

from ssdiff.arrays import _to_tensor, as_batch, as_batches, check_finite, check_grids, check_ratio

MS, PAN = torch.ones(1, 4, 8, 8), torch.ones(1, 1, 32, 32)
INF = float("inf")


@pytest.mark.parametrize("call, message", [
    (lambda: _to_tensor([[1]], "ms"), "ms: needs a NumPy array or a torch tensor, got list"),
    (lambda: as_batch(np.ones((1, 2, 2), bool), "ms"), "ms: needs real numbers, got NumPy dtype bool"),
    (lambda: as_batches(ms=torch.ones(4, 8, 8), pan=np.ones((1, 32, 32))), "images of one kind are needed"),
])
def test_other_kinds_are_refused(call, message):
    with pytest.raises(TypeError) as e: call()
    assert message in str(e.value)


@pytest.mark.parametrize("values, message", [
    ([1, float("nan")], "pan: 1 of 2 values are NaN"),
    ([-INF, INF, 1], "pan: 2 of 3 values are NaN or infinite"),
    ([1, -1e80], "pan: values from -1e+80 to 1; beyond 1e+70"),
])
def test_values_no_index_can_use_are_refused(values, message):
    with pytest.raises(ValueError) as e: check_finite(torch.tensor(values, dtype=torch.float64), "pan")
    assert message in str(e.value)


def test_masked_pixels_are_refused():
    masked = np.ma.masked_greater(np.arange(4.).reshape(1, 2, 2), 2)
    with pytest.raises(ValueError) as e: _to_tensor(masked, "ms")
    assert "ms: 1 of 4 values are masked" in str(e.value)


@pytest.mark.parametrize("call, message", [
    (lambda: as_batch(np.ones((4, 5)), "pan"), "pan: needs shape (C,H,W)"),
    (lambda: as_batch(np.ones((3, 4, 5)), "pan", bands=1), "pan: needs 1 band(s), got 3"),
    (lambda: as_batch(np.ones((0, 3, 4, 5)), "ms"), "without empty axes"),
    (lambda: as_batch(np.full((1, 2, 2), np.inf), "ms"), "4 of 4 values are NaN or infinite"),
    (lambda: as_batches(ms=np.ones((2, 4, 8, 8)), pan=np.ones((1, 32, 32))), "as many images of each are needed"),
    (lambda: check_grids(MS, PAN[..., 1:]), "pan is (32, 31) but ms (8, 8) with ratio 4 asks for (32, 32)"),
    (lambda: check_grids(PAN, MS), "pan: needs one band, got 4"),
    (lambda: check_grids(MS, PAN, 0), "ratio must be a whole number"),
])
def test_shapes_that_do_not_fit_are_refused(call, message):
    with pytest.raises(ValueError) as e: call()
    assert message in str(e.value)


@pytest.mark.parametrize("wrong", [0, 1, -4, 2.5, float("nan"), INF, "4", None, True])
def test_a_ratio_is_a_whole_number_of_at_least_2(wrong):
    with pytest.raises(ValueError) as e: check_ratio(wrong)
    assert f"ratio must be a whole number of at least 2, got {wrong!r}" in str(e.value)
