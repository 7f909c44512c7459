"""What the compared networks refuse, each with one error; a network that was given a wrong file keeps its weights."""
import re

import pytest
import torch
from torch import nn

from ssdiff.baselines import create, load, load_published, save
from ssdiff.baselines.core import Baseline, Recipe, register
from ssdiff.baselines.pandiff import NoiseDiffusion, PanDiff
from ssdiff.files import write_weights

BANDS = 4


def images(bands=BANDS, h=8, w=12):
    g = torch.Generator().manual_seed(0)
    new = lambda c, *size: torch.rand(2, c, *size, generator=g)
    return dict(pan=new(1, h, w), lms=new(bands, h, w), ms=new(bands, h // 4, w // 4))


def refused(call, message, error=ValueError):
    with pytest.raises(error, match=re.escape(message)): call()


@pytest.mark.parametrize("options, message", [
    (dict(loss="l3"), "choose one of mse, l1"),
    (dict(optimizer="lion"), "choose one of sgd, adam, adamw")])
def test_recipes(options, message):
    refused(lambda: Recipe(1e-3, 1, 1, **options), message)


@pytest.mark.parametrize("name, bands, options, message", [
    ("PanNet2", 8, {}, "method 'PanNet2' is unknown; known are"),
    ("PNN", 0, {}, "bands must be a whole number of at least 1, got 0"),
    ("PNN", True, {}, "bands must be a whole number of at least 1, got True"),
    ("MMNet", 1, {}, "at least 2, got 1"),
    ("DiCNN", 4, dict(scale=0), "scale must be above 0 and at most 1, found 0"),
    ("CTINN", 4, dict(features=6), "features must be a multiple of 4 of at least 4, got 6"),
    ("PanDiff", 4, dict(width=10), "width must be a multiple of 4 of at least 4, got 10"),
    ("PanDiff", 4, dict(width=8, learned=(0.5, 0.5)), "learned must be two shares")])
def test_networks(name, bands, options, message):
    refused(lambda: create(name, bands, **options), message)


def test_a_name_that_is_taken():
    refused(lambda: register("PNN", Recipe(1, 1, 1), "")(nn.Conv2d), "registered twice: PNN and Conv2d")


@pytest.mark.parametrize("change, error, message", [
    (lambda x: dict(x, lms=x["lms"][:, :3]), ValueError, "expected (2, 4, 8, 12)"),
    (lambda x: dict(x, pan=x["pan"][..., :6], lms=x["lms"][..., :6], ms=None), ValueError, "multiples of 4"),
    (lambda x: dict(x, pan=x["pan"] * float("nan")), ValueError, "pan holds NaN"),
    (lambda x: dict(x, pan=x["pan"].double()), TypeError, "the weights are torch.float32")])
def test_images(change, error, message):
    refused(lambda: create("PNN", BANDS)(**change(images())), message, error)


def test_options_of_a_sampler_for_a_network_without_one():
    refused(lambda: create("PNN", BANDS).restore(**images(), steps=3), "takes no steps", TypeError)


def test_a_last_step_that_is_nothing_but_noise_has_no_noise_to_learn():
    batch = dict(images(), gt=images()["lms"])
    refused(lambda: NoiseDiffusion().loss(PanDiff(BANDS, 8), batch, t_final=0.5), "t_final must be 0")


@pytest.mark.parametrize("header, message", [
    (dict(bands=8), "expected torch.float32 (64, 9, 3, 3)"),
    (dict(network="Circle"), "'Circle' is unknown"),
    (dict(options={"scale": 0.5, "depth": 3}), "depth")])
def test_files_whose_header_does_not_fit(tmp_path, header, message):
    path = tmp_path/"net.safetensors"
    save(create("DiCNN", BANDS, scale=0.5), path)
    net = load(path)
    write_weights(net, path, {**net.meta, **header})
    refused(lambda: load(path), message)


def test_a_file_that_is_not_there(tmp_path):
    refused(lambda: load(tmp_path/"none.safetensors"), "no weights at", FileNotFoundError)
    refused(lambda: load_published(create("PNN", BANDS), tmp_path/"none.pth"), "no weights at", FileNotFoundError)


class Pair(Baseline):
    "Two convolutions"
    published = ((r"copy\.", "first."),)

    def __init__(self, bands):
        super().__init__(bands)
        self.a, self.b = nn.Conv2d(bands, bands, 3, padding=1), nn.Conv2d(bands, bands, 1)


def published():
    "Weights for a `Pair`, under other names and the first layer twice"
    g = torch.Generator().manual_seed(0)
    shapes = {"first.weight": (4, 4, 3, 3), "first.bias": (4,), "second.weight": (4, 4, 1, 1), "second.bias": (4,)}
    state = {f"module.{k}": torch.randn(s, generator=g) for k, s in shapes.items()}
    return state | {k.replace("first", "copy"): v for k, v in state.items() if "first" in k}


@pytest.mark.parametrize("change, message", [
    ({"extra.weight": torch.ones(2)}, "left over ['weight (2,) ×1']"),
    ({"module.copy.bias": torch.ones(4)}, "module.first.bias twice, with different values"),
    ({"module.second.bias": torch.ones(4) * float("nan")}, "module.second.bias holds NaN")])
def test_published_weights(change, message):
    net = load_published(Pair(BANDS), published())
    refused_and_unchanged(net, published() | change, message)


def test_published_weights_for_another_number_of_bands(tmp_path):
    torch.save(dict(epoch=7, state_dict=published()), tmp_path/"pair.pth")
    message = "does not fit Pair with 8 bands: missing ['weight (8, 8, 3, 3) ×1'"
    refused_and_unchanged(Pair(8), tmp_path/"pair.pth", message)


@pytest.mark.parametrize("write, message", [
    # a pickled network could run code when opened
    (lambda path: torch.save(Pair(BANDS), path), "cannot be read safely"),
    (lambda path: path.write_bytes(b"not a file of weights"), "cannot be read safely"),
    (lambda path: torch.save([1, 2], path), "holds no state_dict but a list"),
    (lambda path: torch.save({"a": 1}, path), "'a' is no tensor but a int")])
def test_files_that_are_not_weights(tmp_path, write, message):
    write(tmp_path/"net.pth")
    refused_and_unchanged(Pair(BANDS), tmp_path/"net.pth", message)


def refused_and_unchanged(net, weights, message):
    before = {k: v.clone() for k, v in net.state_dict().items()}
    refused(lambda: load_published(net, weights), message)
    for k, v in net.state_dict().items(): torch.testing.assert_close(v, before[k], rtol=0, atol=0)
