"SSDiff as a whole: what no single notebook can show, or shows too slowly"
import os
import stat
import subprocess
import sys
from unittest import mock

import pytest
import torch
from hypothesis import given, settings, strategies as st

from ssdiff import apfm, attention, fmim
from ssdiff.samplers import SAMPLERS
from ssdiff.schedules import SPACINGS
from ssdiff.diffusion import Diffusion
from ssdiff.windows import ramps
from ssdiff.network import VARIANTS, SSDiff, load, save

# Added up by hand from the parts
COUNTS = {8: dict(V1=1_100_920, V2=652_904, V3=1_420_184, V4=1_249_144, V5=1_420_184),
          4: dict(V1=1_097_460, V2=649_444, V3=1_415_572, V4=1_244_532, V5=1_408_660)}


def awake(bands=8, variant="V5", seed=0, **kw):
    "A network whose zero-initialised convolutions have woken up, as after training"
    torch.manual_seed(seed)
    net = SSDiff(bands, variant, **kw)
    with torch.no_grad():
        for p in net.parameters(): p.add_(0.02 * torch.randn_like(p))
    return net.eval()


def images(n=1, bands=8, height=32, width=None, seed=0):
    "Smooth made-up images"
    g = torch.Generator().manual_seed(seed)
    h, w = height, width or height
    up = lambda x: torch.nn.functional.interpolate(x, (h, w), mode="bicubic")
    coarse = torch.rand(n, bands, h // 16 + 2, w // 16 + 2, generator=g)
    ms = torch.nn.functional.interpolate(coarse, (h // 4, w // 4), mode="bicubic").clamp(0, 1)
    lms = up(ms).clamp(0, 1)
    gt = (lms + 0.1 * up(torch.rand(n, 1, h // 8, w // 8, generator=g) - 0.5)).clamp(0, 1)
    return dict(pan=gt.mean(1, keepdim=True), lms=lms, ms=ms, gt=gt)


def call(net, b, t=500):
    return net(torch.zeros_like(b["lms"]), torch.full((len(b["lms"]),), t), b["pan"], b["lms"], b["ms"])


def conditions(b): return b["pan"], b["lms"], b["ms"]


@pytest.mark.parametrize("bands", COUNTS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_parameter_counts(bands, variant):
    assert sum(p.numel() for p in SSDiff(bands, variant).parameters()) == COUNTS[bands][variant]


@pytest.mark.parametrize("variant", ["V2", "V3", "V5"])
def test_fast_equals_written_out(variant):
    "The whole network, forward and backward, with the printed formulas put in"
    net, b = awake(variant=variant), images(2, height=32)

    def run():
        net.zero_grad()
        out = call(net, b)
        out.abs().mean().backward()
        return [out.detach(), *(p.grad.clone() for p in net.parameters())]

    fast = run()
    projections = mock.patch.object(apfm, "alternate", lambda a, b, c, d, phase: apfm.alternate_written(a, b, c, d))
    with projections, mock.patch.object(fmim, "filter_low", fmim.filter_written): written = run()
    assert fast[0].abs().max() > 0.01
    assert max((x - y).abs().max().item() for x, y in zip(fast, written)) < 1e-5


def test_what_flows_at_the_start():
    "Zero-initialised maps hold gradients back for three steps only; from the fourth on every weight learns"
    torch.manual_seed(0)
    net, b, d = SSDiff(), images(2), Diffusion()
    opt = torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=0)
    silent = []
    for i in range(4):
        opt.zero_grad()
        d.loss(net, b, generator=torch.Generator().manual_seed(i)).backward()
        silent.append([k for k, p in net.named_parameters() if p.grad is None or not p.grad.abs().max() > 0])
        opt.step()
    assert silent[0] and silent[1] and not silent[3]


def test_same_bits_twice():
    def train():
        torch.manual_seed(3)
        net, b, d = SSDiff(4), images(2, 4), Diffusion()
        opt = torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=0)
        for i in range(3):
            opt.zero_grad()
            d.loss(net, b, generator=torch.Generator().manual_seed(i)).backward()
            opt.step()
        return [*net.state_dict().values(), d.sample(net, *conditions(b), steps=2, progress=False)]

    assert all(torch.equal(x, y) for x, y in zip(train(), train()))


def test_images_of_a_batch_do_not_see_each_other():
    net, b = awake(), images(3)
    alone = torch.cat([call(net, {k: v[i:i + 1] for k, v in b.items()}) for i in range(3)])
    assert (call(net, b) - alone).abs().max() < 1e-5


def test_nothing_passes_between_the_branches_of_v3():
    "The spectral feature of V3 does not depend on pan; that of V4 and V5 does"
    for variant, depends in (("V3", False), ("V4", True), ("V5", True)):
        net, b = awake(variant=variant), images()
        b["pan"].requires_grad_()
        seen = []
        net.head.register_forward_pre_hook(lambda m, x: seen.append(x[0][:, -32:]))
        call(net, b)
        g, = torch.autograd.grad(seen[0].sum(), b["pan"], allow_unused=True)
        assert (g is not None and g.abs().max().item() > 0) == depends


def test_fmim_changes_what_it_should():
    b = images()
    for variant in VARIANTS:
        same = torch.equal(call(awake(variant=variant), b), call(awake(variant=variant, fmim=False), b))
        assert same == (variant in ("V1", "V2", "V3"))


@settings(max_examples=15, deadline=None)
@given(steps=st.integers(1, 60), eta=st.floats(0, 1), sampler=st.sampled_from([*SAMPLERS]),
       spacing=st.sampled_from(SPACINGS), scale=st.sampled_from([1.0, 0.06]), seed=st.integers(-2**70, 2**70))
def test_oracle_returns_the_truth(steps, eta, sampler, spacing, scale, seed):
    b = images(height=8)
    oracle = lambda *a: (b["gt"] - b["lms"]) / scale
    how = dict(steps=steps, sampler=sampler, spacing=spacing, eta=eta if sampler == "ddim" else 0)
    out = Diffusion(scale=scale).sample(oracle, *conditions(b), **how, seed=seed, progress=False)
    assert (out - b["gt"]).abs().max() < 1e-5


def test_windows_order_and_batches_change_nothing():
    net, b, d = awake(4, window=16), images(2, 4, 24, 40), Diffusion(scale=0.1)
    whole = d.sample(net, *conditions(b), steps=3, progress=False)
    assert (d.sample(net, *conditions(b), steps=3, progress=False, batch=1) - whole).abs().max() < 1e-5
    second = d.sample(net, *(x[1:] for x in conditions(b)), steps=3, progress=False)
    assert (second - whole[1:]).abs().max() < 1e-6
    each = d.sample(net, *conditions(b), steps=3, progress=False, index=torch.tensor([0, 5]))
    assert (each[:1] - whole[:1]).abs().max() < 1e-6 and (each[1:] - whole[1:]).abs().max() > 1e-3
    fifth = d.sample(net, *(x[1:] for x in conditions(b)), steps=3, progress=False, index=5)
    assert (fifth - each[1:]).abs().max() < 1e-6
    assert (d.sample(net, *conditions(b), steps=3, progress=False, seed=1) - whole).abs().max() > 1e-3


@pytest.mark.parametrize("blend", ["step", "run"])
def test_equal_images_of_a_batch_get_equal_answers(blend):
    net, b = awake(4, window=16), images(1, 4, 24)
    three = [x.repeat(3, 1, 1, 1) for x in conditions(b)]
    out = Diffusion(scale=0.1).sample(net, *three, steps=3, eta=0.5, progress=False, blend=blend)
    assert (out - out[:1]).abs().max() < 1e-6


def test_double_agrees_with_float():
    net, b, d = awake(4, window=16), images(1, 4, 24), Diffusion(scale=0.1)
    double = {k: v.double() for k, v in b.items()}
    noise, t = torch.randn(b["gt"].shape, generator=torch.Generator().manual_seed(0)), torch.tensor([300])
    single = d.loss(net, b, t, noise).item(), d.sample(net, *conditions(b), steps=3, progress=False)
    net.double()
    loss, image = d.loss(net, double, t, noise.double()), d.sample(net, *conditions(double), steps=3, progress=False)
    assert loss.dtype == image.dtype == torch.float64
    assert abs(loss.item() - single[0]) < 1e-4 and (image - single[1]).abs().max() < 1e-4
    with pytest.raises(TypeError, match="the network is torch.float64"): call(net, b)


@pytest.mark.parametrize("window", [0, 30, 1.5, 2048])
def test_a_network_that_could_not_be_loaded_is_not_built(window):
    with pytest.raises(ValueError, match="window must be"): SSDiff(4, window=window)


def test_one_step_blends_alike():
    "With one step, blending estimates and blending finished images are the same thing"
    net, b, d = awake(4, window=16), images(1, 4, 32), Diffusion(scale=0.1)
    x, y = (d.sample(net, *conditions(b), steps=1, progress=False, blend=blend) for blend in ("step", "run"))
    assert (x - y).abs().max() < 1e-5


def test_without_the_kernel_the_network_says_the_same():
    net, b = awake(), images(2)
    with mock.patch.object(attention, "kernel", lambda: None): pytorch = call(net, b)
    assert pytorch.abs().max() > 0.01 and (call(net, b) - pytorch).abs().max() < 1e-5


@pytest.fixture(scope="module")
def trained():
    "A network with windows of 16, trained for a moment, so that its answers look like detail and not like noise"
    torch.manual_seed(0)
    net, d, b = SSDiff(4, window=16), Diffusion(scale=0.05), images(200, 4, 16, seed=1)
    opt = torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=0)
    for i in range(60):
        g = torch.Generator().manual_seed(i)
        some = torch.randint(200, (8,), generator=g)
        opt.zero_grad()
        d.loss(net, {k: v[some] for k, v in b.items()}, generator=g).backward()
        opt.step()
    return net.eval(), d


def seam(image, overlap, window=16):
    "By how many standard deviations the jumps at the edges of windows exceed the jumps elsewhere"
    starts = [s for s, _ in ramps(image.shape[-1], window, overlap)]
    jump = (image[..., 1:] - image[..., :-1]).abs().mean((0, 1, 2))
    at = torch.zeros(len(jump), dtype=torch.bool)
    at[[e - 1 for e in {*starts, *(s + window for s in starts)} - {0, image.shape[-1]}]] = True
    return ((jump[at].mean() - jump[~at].mean()) / jump[~at].std()).item()


@pytest.mark.parametrize("blend", ["step", "run"])
@pytest.mark.parametrize("steps", [1, 5])
def test_no_seam(trained, blend, steps):
    "Jumps across window edges are like those elsewhere; windows side by side are the control: the measure sees a seam"
    (net, d), b = trained, images(2, 4, 64, 160)

    def detail(overlap):
        how = dict(steps=steps, progress=False, blend=blend, overlap=overlap)
        return d.sample(net, *conditions(b), **how) - b["lms"]

    bound = 1.5
    assert abs(seam(detail(4), 4)) < bound
    assert seam(detail(0), 0) > 2 * bound


@pytest.mark.parametrize("blend, arrays", [("run", 2.5), ("step", 8)])
def test_memory_is_that_of_a_few_images(blend, arrays):
    "Beside its input a run holds its output (with blend='step' also the state and what a step needs), at any size"
    # a network's passes see windows only
    code = f"""
import resource, torch
from ssdiff.diffusion import Diffusion
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
def net(x_t, t, pan, lms, ms):
    assert x_t.shape[0] <= 4 and x_t.shape[-1] <= 64
    return x_t * 0.1
def run(size):
    ms = torch.rand(1, 8, size // 4, size // 4)
    lms = torch.nn.functional.interpolate(ms, scale_factor=4)
    return Diffusion().sample(net, lms[:, :1], lms, ms, steps=2, progress=False, blend={blend!r})
run(128)
before = peak()
run(1024)
print((peak() - before) / (8 * 4 * 1024**2))
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert float(out) < arrays + 1.3  # lms itself, and ms


def test_saved_file_is_readable_by_others(tmp_path):
    old = os.umask(0o022)
    try: save(SSDiff(4), tmp_path / "net.safetensors")
    finally: os.umask(old)
    assert stat.S_IMODE((tmp_path / "net.safetensors").stat().st_mode) == 0o644
    assert load(tmp_path / "net.safetensors").meta["variant"] == "V5"


def test_a_failed_save_leaves_the_old_file(tmp_path):
    path = tmp_path / "net.safetensors"
    save(SSDiff(4), path, profile="first")
    full = mock.patch("ssdiff.files.os.replace", side_effect=OSError("disk full"))
    with full, pytest.raises(OSError): save(SSDiff(4), path)
    assert load(path).meta["profile"] == "first" and [p.name for p in tmp_path.iterdir()] == ["net.safetensors"]
