"SSDiff's numbers do not depend on the machine: single precision equals double, however an image lies in memory"
import copy

import pytest
import torch
import torch.nn.functional as F

import ssdiff
from ssdiff import apfm, attention, baselines
from ssdiff.branches import Norm
from ssdiff.inputs import toy_batch
from ssdiff.network import SSDiff
from test_time import NETWORKS, trained

FORMATS = torch.contiguous_format, torch.channels_last
CLOSE = 1e-4  # of the output's standard deviation


def random_network(name, bands=8, drift=0.0):
    "Random weights, awake as after training; drift lifts the level of every group that the norms see"
    torch.manual_seed(0)
    net = SSDiff(bands, window=32, **NETWORKS[name]).eval()
    with torch.no_grad():
        for k, p in net.named_parameters():
            p.add_(0.05 * torch.randn_like(p))
            if drift and k.endswith(("stem.conv.bias", "body.2.bias")): p.add_(drift)
    return net


def images(bands, size, seed=0):
    b = toy_batch(2, bands, size, seed)
    g = torch.Generator().manual_seed(seed)
    return torch.randn(b["lms"].shape, generator=g) * 0.05, torch.tensor([3.0, 700.0]), b["pan"], b["lms"], b["ms"]


@torch.no_grad()
def distance(net, inputs):
    "Largest difference between single and double precision, in standard deviations of the output"
    exact = copy.deepcopy(net).double()(*(x.double() for x in inputs))
    outs = [net(*(x.contiguous(memory_format=kind) if x.ndim == 4 else x for x in inputs)) for kind in FORMATS]
    return max((out - exact).abs().max().item() for out in outs) / exact.std().item()


@pytest.mark.parametrize("drift", [0.0, 30.0])
@pytest.mark.parametrize("name", NETWORKS)
def test_random_weights(name, drift): assert distance(random_network(name, drift=drift), images(8, 32)) < CLOSE


@pytest.mark.parametrize("name", NETWORKS)
def test_trained_weights(name): assert distance(trained(name), images(4, 16)) < CLOSE


def test_pandiff():
    torch.manual_seed(0)
    net = baselines.create("PanDiff", 4, width=8).eval()
    with torch.no_grad():
        for k, p in net.named_parameters(): p.add_(0.05 * torch.randn_like(p) + 30.0 * k.endswith("first.2.bias"))
    assert distance(net, images(4, 32)) < CLOSE


def packaged(bands): return ssdiff.load(f"{ssdiff.__path__[0]}/weights/{bands}bands.safetensors")


@pytest.mark.parametrize("bands", [4, 8])
def test_packaged_weights(bands):
    net = packaged(bands)
    assert distance(net, images(bands, net.window)) < CLOSE


def test_this_test_sees_the_trap():
    "With PyTorch's own GroupNorm the same weights are far off where levels have drifted"
    net = random_network("V5", drift=30.0)
    for m in net.modules():
        if isinstance(m, Norm): m.__class__ = torch.nn.GroupNorm
    assert distance(net, images(8, 32)) > 100 * CLOSE


@pytest.mark.parametrize("bands", [4, 8])
def test_attention_of_the_packaged_weights(bands):
    "The kernel, forward and backward, on the queries, keys and values that trained weights make"
    if not attention.kernel(): pytest.skip("no compiler here: PyTorch's attention is used")
    net, seen = packaged(bands), []
    original = apfm.attend

    def watch(q, k, v):
        seen.append((q, k, v))
        return original(q, k, v)

    apfm.attend = watch
    try:
        with torch.no_grad(): net(*images(bands, net.window))
    finally: apfm.attend = original
    assert len(seen) == 5
    def run(attend, kind, inputs):
        x = [t.to(kind).requires_grad_() for t in inputs]
        out = attend(*x)
        g = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(kind)
        return out.detach(), *torch.autograd.grad((out * g).sum(), x)

    theirs = F.scaled_dot_product_attention
    for inputs in seen:
        ours, torchs = run(original, torch.float32, inputs), run(theirs, torch.float32, inputs)
        exact = run(theirs, torch.float64, inputs)
        errors = [[((x - y).abs().max() / y.std()).item() for x, y in zip(found, exact)] for found in (ours, torchs)]
        assert errors[0][0] < CLOSE / 10
        for mine, other in zip(*errors):
            assert mine < max(CLOSE, 3 * other)  # the queries' gradient is a difference that single precision loses
