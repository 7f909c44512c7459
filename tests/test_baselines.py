"""What must hold for every compared network, and for weights that others have published."""
import multiprocessing
import resource
from collections import OrderedDict

import pytest
import torch
from hypothesis import given, settings, strategies as st

from ssdiff.baselines import create, entries, load_published, names, recipe
from ssdiff.baselines.core import course, fill_sine, make_optimizer
from ssdiff.published import match_weights

DIRECT = [n for n, m in entries().items() if not m.diffusion]
OPTIONS = {"PanDiff": dict(width=8)}


def images(bands, h, w, count=1, seed=0):
    g = torch.Generator().manual_seed(seed)
    new = lambda c, *s: torch.rand(count, c, *s, generator=g, dtype=torch.float64)
    return dict(pan=new(1, h, w), lms=new(bands, h, w), ms=new(bands, h // 4, w // 4))


def test_the_nine_are_there_in_the_order_of_the_tables():
    assert names()[:9] == ("PNN", "DiCNN", "MSDCNN", "FusionNet", "CTINN", "LAGConv", "MMNet", "DCFNet", "PanDiff")


@pytest.mark.parametrize("name", DIRECT)
@settings(max_examples=6, deadline=None)
@given(bands=st.sampled_from([2, 4, 8]), h=st.integers(2, 6), w=st.integers(2, 6), count=st.integers(1, 2))
def test_any_size_of_the_contract(name, bands, h, w, count):
    torch.manual_seed(0)
    x = images(bands, 4 * h, 4 * w, count)
    with torch.no_grad(): y = create(name, bands).double().eval()(**x)
    assert y.shape == x["lms"].shape and y.dtype == torch.float64 and torch.isfinite(y).all()


@pytest.mark.parametrize("name", DIRECT)
def test_images_of_a_batch_do_not_mix(name):
    "Else a score would depend on what was scored beside it"
    net = fill_sine(create(name, 4))
    x = images(4, 24, 24, 3)
    with torch.no_grad(): together, alone = net(**x), net(**{k: v[1:2] for k, v in x.items()})
    torch.testing.assert_close(together[1:2], alone, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", names()[:9])
def test_every_parameter_has_a_gradient(name):
    torch.manual_seed(0)
    net, x = create(name, 4, **OPTIONS.get(name, {})), {k: v.float() for k, v in images(4, 32, 32, 2).items()}
    net.objective(dict(x, gt=x["lms"] + 0.1), torch.Generator().manual_seed(0)).backward()
    idle = [k for k, p in net.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert idle == []


@pytest.mark.parametrize("name", names()[:9])
def test_a_few_steps_of_the_recipe_lower_the_loss(name):
    torch.manual_seed(0)
    net, x = create(name, 4, **OPTIONS.get(name, {})), {k: v.float() for k, v in images(4, 32, 32, 2).items()}
    batch, r = dict(x, gt=(x["lms"] + 0.2 * (x["pan"] - 0.5)).clamp(0, 1)), recipe(name, 4)
    optimizer, losses = make_optimizer(net, r), []
    for _ in range(12):
        loss = net.objective(batch, torch.Generator().manual_seed(0))
        optimizer.zero_grad(); loss.backward()
        if r.clip: torch.nn.utils.clip_grad_norm_(net.parameters(), r.clip)
        optimizer.step(); losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", names())
def test_recipes_are_whole(name):
    r = recipe(name, 8)
    assert r.lr > 0 and r.epochs > 0 and r.batch > 0 and r.source
    assert list(r.milestones) == sorted(r.milestones) and course(r)(r.epochs, r.epochs) <= 1


@pytest.mark.parametrize("name", names()[:9])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_under_other_names_and_in_the_same_order(name, prefix, tmp_path):
    "Whatever the layers are called, order and shape say where a tensor belongs"
    torch.manual_seed(1)
    options = OPTIONS.get(name, {})
    net = create(name, 4, **options).eval()
    theirs = OrderedDict()
    for i, (k, v) in enumerate(net.state_dict().items()): theirs[f"{prefix}layer{i}.{k.rpartition('.')[2]}"] = v
    torch.save({"epoch": 3, "state_dict": theirs}, tmp_path/"weights.pth")
    other = load_published(create(name, 4, **options), tmp_path/"weights.pth")
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), other.state_dict().values()))
    with pytest.raises(ValueError, match="weights.pth does not fit .* with 8 bands"):
        load_published(create(name, 8, **options), tmp_path/"weights.pth")


def test_a_layer_stored_twice_is_read_once():
    "MMNet's reference holds the layers of its residual blocks by name and in a list"
    net = create("MMNet", 4)
    theirs = OrderedDict()
    for k, v in net.state_dict().items():
        renamed = ".stage" in f".{k}" and k.endswith("first.weight")
        theirs[k.replace("first.weight", "conv1.weight") if renamed else k] = v
    doubled = OrderedDict()
    for k, v in theirs.items():
        doubled[k] = v
        if k.endswith(".conv1.weight"): doubled[k.replace(".conv1.", ".layers.0.")] = v
    assert len(doubled) > len(theirs)
    assert match_weights(net, doubled) == match_weights(net, theirs)


def test_published_files_are_never_unpickled(tmp_path):
    class Trap:
        def __reduce__(self): return (pytest.fail, ("the file ran code",))
    torch.save({"state_dict": OrderedDict(a=torch.ones(1)), "args": Trap()}, tmp_path/"trap.pth")
    with pytest.raises(ValueError, match="cannot be read safely"): load_published(create("PNN", 4), tmp_path/"trap.pth")


def test_a_truncated_file_is_one_error(tmp_path):
    torch.save(create("PNN", 4).state_dict(), tmp_path/"w.pth")
    whole = (tmp_path/"w.pth").read_bytes()
    (tmp_path/"w.pth").write_bytes(whole[:len(whole) // 2])
    with pytest.raises(ValueError, match="cannot be read safely"): load_published(create("PNN", 4), tmp_path/"w.pth")


def test_a_large_image_needs_no_attention_matrix():
    "At 512 pixels one of MMNet's attention matrices would take 256² × 128² × 4 bytes = 4.3 GB"
    # only in a process of its own is the peak that of this network
    with multiprocessing.get_context("spawn").Pool(1) as pool: assert pool.apply(_peak_of_mmnet) < 2.5


def _peak_of_mmnet():
    "GB"
    torch.set_num_threads(1)
    x = {k: v.float() for k, v in images(4, 512, 512).items()}
    create("MMNet", 4).restore(**x)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
