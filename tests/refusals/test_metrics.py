"""The indices refuse pairs, sizes and settings for which they have no value, and say which."""
import numpy as np
import pytest
import torch

from ssdiff import metrics, running_indices
from ssdiff.reduced_indices import _defined, _pair
from ssdiff.toy import toy_scene
from ssdiff.full_indices import _full_inputs
from ssdiff.q_indices import _mirror_pad

GT = toy_scene()
FULL = MS, LMS, PAN = GT[:, ::4, ::4], GT, GT[:1]  # only their shapes matter


def refuses(call, *words, error=ValueError):
    with pytest.raises(error) as e: call()
    for w in words: assert w in str(e.value)


@pytest.mark.parametrize("call, message", [
    (lambda: _pair(GT, GT[:3]), "gt and fused need one shape, got (4, 128, 128) and (3, 128, 128)"),
    (lambda: _defined(torch.tensor([True, False]), "SAM", "all black"), "SAM is undefined for image(s) [1]: all black"),
    (lambda: metrics.sam(GT, 0*GT), "SAM is undefined for image(s) [0]"),
    (lambda: metrics.ergas(0*GT, GT), "a band of gt has mean 0"),
    (lambda: metrics.scc(GT, 0*GT), "SCC is undefined"),
    (lambda: metrics.scc(GT[:, :2], GT[:, :2]), "at least 3x4 pixels"),
    (lambda: metrics.scc(GT[:, :3, :3], GT[:, :3, :3]), "at least 3x4 pixels for a gradient, got (3, 3)"),
    (lambda: metrics.uiqi(GT[:, :20], GT[:, :20]), "sides of at least the block, 32"),
    (lambda: _mirror_pad(torch.zeros(1, 1, 4, 5), 32, 32), "a side of 4 pixels is too short"),
    (lambda: metrics.q2n(GT, GT, shift=0), "shift must be a whole number of at least 1, got 0"),
    (lambda: metrics.q2n(GT, GT, block=1), "block must be a whole number of at least 2, got 1"),
    (lambda: metrics.q2n(GT, GT, 16, 17), "need shift <= block"),
    (lambda: metrics.cut_border(GT[..., :40]), "leaves nothing of an image of 128x40"),
    (lambda: metrics.reduced(GT, GT[:, :64]), "one shape"),
    (lambda: metrics.reduced(GT, np.where(GT > 900, np.nan, GT)), "fused:"),
    (lambda: metrics.reduced(GT, 1e80*GT), "beyond 1e+70 the indices overflow"),
])
def test_indices_with_a_reference(call, message): refuses(call, message)


@pytest.mark.parametrize("pair", [(GT.tolist(), GT), (GT, GT.tolist()), (None, GT), (GT, None)])
def test_images_of_another_kind(pair):
    refuses(lambda: _pair(*pair), "needs a NumPy array or a torch tensor, got", error=TypeError)


def test_reduced_names_the_image_of_another_kind():
    message = "gt: needs a NumPy array or a torch tensor, got NoneType"
    refuses(lambda: metrics.reduced(None, GT), message, error=TypeError)


@pytest.mark.parametrize("ratio", [0, -4, float("inf"), float("nan")])
def test_ergas_wants_a_ratio(ratio):
    refuses(lambda: metrics.ergas(GT, GT, ratio), "ratio must be positive and finite")


@pytest.mark.parametrize("block", [0, -8, 2.5])
def test_q_wants_a_whole_block(block):
    refuses(lambda: metrics.uiqi(GT, GT, block), "block must be a whole number of at least 1")


NARROW = GT[..., :120], MS[..., :30], LMS[..., :120], PAN[..., :120]
EIGHT = [np.repeat(v, 2, 0) for v in (GT, MS, LMS)]


@pytest.mark.parametrize("call, message", [
    (lambda: _full_inputs(*NARROW, 32), "multiples of the block 32, got (128, 120)"),
    (lambda: _full_inputs(GT, MS, LMS[:3], PAN, 32), "fused and lms need one shape"),
    (lambda: _full_inputs(GT, MS[:, :31], LMS, PAN, 32), "2 or 4 times as large as ms, got (128, 128) and (31, 32)"),
    (lambda: _full_inputs(GT, MS, LMS, PAN.repeat(2, 0), 32), "pan needs one band"),
    (lambda: metrics.d_lambda_k(*EIGHT, PAN, "QB"), "8 bands but sensor QB has 4"),
    (lambda: metrics.d_lambda(GT[:1], MS[:1], LMS[:1], PAN), "needs at least two"),
    (lambda: metrics.qnr(GT, *FULL, "QB", 0), "block must be a whole number of at least 2, got 0"),
    (lambda: metrics.full(GT, *FULL, "QUICKBIRD"), "unknown sensor 'QUICKBIRD'"),
])
def test_indices_without_a_reference(call, message): refuses(call, message)


@pytest.mark.parametrize("index", ["d_s", "d_lambda", "qnr", "hqnr"])
def test_sensors_that_are_only_checked_are_checked(index):
    refuses(lambda: getattr(metrics, index)(GT, *FULL, "MODIS"), "unknown sensor 'MODIS'")


@pytest.mark.parametrize("call, message", [
    (lambda: metrics.mean_std([]), "at least one image"),
    (lambda: metrics.mean_std([dict(SAM=1.), dict(Q=1.)]), "the same indices for every image"),
    (lambda: running_indices.PerImage().update(torch.zeros(4, 8, 8), torch.zeros(4, 8, 8)), "needs a batch"),
    (lambda: running_indices.HQNR("MODIS"), "unknown sensor 'MODIS'"),
    (lambda: running_indices.HQNR("QB", border=21), "no border cut"),
])
def test_means_and_metric_classes(call, message): refuses(call, message)


def test_a_metric_without_images_has_no_value():
    metric = running_indices.SAM()
    metric.update(torch.ones(1, 4, 8, 8), torch.ones(1, 4, 8, 8))
    metric.reset()
    refuses(metric._all, "SAM has not seen an image yet")
