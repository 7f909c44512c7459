"L-BAF's promises under conditions that would break a careless implementation"
import pytest
import torch

from ssdiff.diffusion import Diffusion
from ssdiff.inputs import toy_batch
from ssdiff.lbaf import MODES, parameter_groups, phase, phase_at
from ssdiff.network import SSDiff


def awake(bands):
    "A network whose zero-initialised convolutions have woken up, as after training"
    torch.manual_seed(0)
    net = SSDiff(bands)
    with torch.no_grad():
        for p in net.parameters(): p.add_(0.02 * torch.randn_like(p))
    return net


@pytest.mark.parametrize("make, kw", [
    (torch.optim.AdamW, dict(weight_decay=0.1)),
    (torch.optim.SGD, dict(momentum=0.9, weight_decay=0.1)),
])
@pytest.mark.parametrize("mode", MODES)
def test_only_the_phase_moves(mode, make, kw):
    "With moments and weight decay in play, also when every gradient was full before and a step clips over all of them"
    net, d, b = awake(4), Diffusion(scale=0.06), toy_batch(2, 4, 16)
    d.loss(net, b).backward()  # gradients everywhere, as pretraining leaves them
    names, optimizer = {k for k, _ in net.named_parameters()}, make(net.parameters(), lr=1e-3, **kw)
    for i in range(4):
        before = {k: p.detach().clone() for k, p in net.named_parameters()}
        with phase(net, phase_at(i, mode)) as mine:
            d.loss(net, b, generator=torch.Generator().manual_seed(i)).backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
        assert {k for k, p in net.named_parameters() if not torch.equal(p, before[k])} == set(mine)
    assert {k for k, _ in net.named_parameters()} == names


def test_an_error_inside_leaves_nothing_behind():
    net = SSDiff(4)
    frozen = next(iter(parameter_groups(net)["spatial"].values()))
    frozen.requires_grad_(False)
    with pytest.raises(RuntimeError, match="stop"):
        with phase(net, "spatial"): raise RuntimeError("stop")
    assert [p is not frozen for p in net.parameters()] == [p.requires_grad for p in net.parameters()]
    assert all(m.phase is None for m in net.fusions)


def test_a_phase_within_a_phase_ends_alone():
    net = SSDiff(4)
    with phase(net, "spectral") as outer:
        with pytest.raises(RuntimeError, match="stop"):
            with phase(net, "spatial"): raise RuntimeError("stop")
        assert {m.phase for m in net.fusions} == {"spectral"}
        assert {k for k, p in net.named_parameters() if p.requires_grad} == set(outer)
    assert {m.phase for m in net.fusions} == {None}


def test_a_phase_is_cheaper_than_a_full_step():
    "No graph is kept for the branch that rests"
    net, d, b = awake(4), Diffusion(), toy_batch(1, 4, 16)

    def nodes(loss):
        seen, todo = set(), [loss.grad_fn]
        while todo:
            f = todo.pop()
            if f is None or f in seen: continue
            seen.add(f)
            todo += [g for g, _ in f.next_functions]
        return len(seen)

    full = nodes(d.loss(net, b))
    with phase(net, "spectral"): spectral = nodes(d.loss(net, b))
    with phase(net, "spatial"): spatial = nodes(d.loss(net, b))
    assert spectral < 0.7 * full and spatial < full


@pytest.mark.parametrize("variant", ["V1", "V2", "V3", "V4"])
def test_other_variants_are_refused(variant):
    with pytest.raises(ValueError, match=f"this network is {variant}"): parameter_groups(SSDiff(4, variant))


def test_unknown_modes_and_periods_are_refused():
    with pytest.raises(ValueError, match="choose one of spatial, spectral, alternating"): phase_at(0, "both")
    with pytest.raises(ValueError, match="period must be a whole number of at least 1, got 0"): phase_at(0, period=0)
