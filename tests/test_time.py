"SSDiff knows the time: what a network that ignores t, or x_t, would fail"
import functools

import pytest
import torch

from ssdiff.branches import Conditioned
from ssdiff.diffusion import Diffusion
from ssdiff.network import SSDiff
from ssdiff.probes import told_error

NETWORKS = {**{v: dict(variant=v) for v in ("V1", "V2", "V3", "V4", "V5")}, "V5-noFMIM": dict(variant="V5", fmim=False)}
STEPS = (100, 300, 700, 900)
DIFFUSION = Diffusion(scale=0.05)


def batch(n, bands=4, size=16, seed=0):
    """Smooth images whose detail PAN shows for the most part, and a smaller part that nothing shows but x_t

    With detail that only x_t shows, a network without a sense of time finds one; here it needs one and gets none."""
    g = torch.Generator().manual_seed(seed + 1000)
    smooth = torch.rand(n, bands, size // 4 + 2, size // 4 + 2, generator=g)
    lms = 0.2 + 0.3 * torch.nn.functional.interpolate(smooth, (size, size), mode="bilinear")
    shown, hidden = (torch.randn(n, c, size, size, generator=g) for c in (1, bands))
    gain = 1 + 0.3 * torch.randn(n, bands, 1, 1, generator=g)
    gt = lms + 0.05 * (0.9 * gain * shown + 0.4 * hidden).clamp(-3, 3)
    return dict(gt=gt, lms=lms, ms=lms[..., ::4, ::4].contiguous(), pan=lms.mean(1, keepdim=True) + 0.05 * shown)


class Before(Conditioned):
    "The form that was blind: the time is added in front of a norm in 32 groups"
    def forward(self, x, emb): return self.conv(self.act(self.norm(x + self.time(emb)[:, :, None, None])))


def build(name, old=False):
    torch.manual_seed(0)
    net = SSDiff(4, window=16, **NETWORKS[name])
    for m in net.modules():
        if old and isinstance(m, Conditioned): m.__class__, m.norm.num_groups = Before, 32
    return net


@functools.cache
def trained(name, old=False, iterations=150):
    net = build(name, old)
    opt = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=0)
    for i in range(iterations):
        for group in opt.param_groups: group["lr"] = 3e-3 * min(1, (i + 1) / 10) * (1 - i / iterations) ** 0.5
        opt.zero_grad()
        DIFFUSION.loss(net, batch(8, seed=i + 1), generator=torch.Generator().manual_seed(i)).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        opt.step()
    return net.eval()


def error(net, t, **how): return told_error(net, DIFFUSION, batch(16), t, seed=99, **how)


def wrong(net, t): return error(net, t, told=(t - 500) % 1000) / error(net, t)


def hidden(net, t): return error(net, t, hidden=True) / error(net, t)


def change(net):
    "How much the output changes between t = 999 and t = 0, as a share of its spread"
    b = batch(4)
    with torch.no_grad(): last, first = (net(b["gt"] - b["lms"], t, b["pan"], b["lms"], b["ms"]) for t in (999, 0))
    return ((last - first).std() / last.std()).item()


@pytest.mark.parametrize("name", NETWORKS)
def test_the_output_depends_on_t(name): assert change(trained(name)) > 0.07


@pytest.mark.parametrize("name", NETWORKS)
def test_a_wrong_t_makes_the_error_worse_at_every_noise_level(name):
    for t in STEPS: assert wrong(trained(name), t) > 1.01, t


@pytest.mark.parametrize("name", NETWORKS)
def test_the_error_falls_as_t_falls(name):
    errors = [error(trained(name), t) for t in (100, 300, 500, 700, 900)]
    assert all(a < b for a, b in zip(errors, errors[1:])), errors


@pytest.mark.parametrize("name", NETWORKS)
def test_at_low_t_the_true_x_t_serves_better_than_noise(name): assert hidden(trained(name), 100) > 1.22


@pytest.mark.parametrize("name", ["V2", "V4"])
def test_these_tests_see_the_old_fault(name):
    "The network as it was, trained alike, fails each of them"
    net = trained(name, old=True)
    assert change(net) < 0.05 and min(wrong(net, t) for t in STEPS) < 1.005 and hidden(net, 100) < 1.18
