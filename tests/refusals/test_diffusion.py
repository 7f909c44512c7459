"""What `ssdiff.diffusion` refuses, and what it says: counts, images, spacings, steps, batches and ways to sample."""
import pytest
import torch

from ssdiff.diffusion import Diffusion
from ssdiff.inputs import check_images, check_kinds, toy_batch
from ssdiff.schedules import cosine_betas, spaced


BATCH, ONE = toy_batch(), toy_batch(1, size=8)
ALPHA_BAR = torch.cumprod(1 - cosine_betas(1000), 0)
D = Diffusion(scale=0.06)
NAN, INF = float("nan"), float("inf")


def refused(f, words, kind=ValueError):
    "`f` raises an error of this kind whose message has these words."
    with pytest.raises(kind) as e: f()
    assert words in str(e.value), str(e.value)

def net(x_t, t, pan, lms, ms): return torch.zeros_like(lms)


# Images

@pytest.mark.parametrize("change, words", [
    (dict(ms=BATCH["ms"][:, :4]), "ms has shape (2, 4, 4, 4), expected (2, 8, 4, 4)"),
    (dict(pan=BATCH["pan"] * NAN), "pan holds NaN"),
    ({k: v[..., :15] for k, v in BATCH.items()}, "multiples of 4"),
    ({k: v[:0] for k, v in BATCH.items()}, "the batch holds no images"),
])
def test_images_that_do_not_fit(change, words): refused(lambda: check_images({**BATCH, **change}), words)

def test_images_with_other_bands_than_asked_for(): refused(lambda: check_images(BATCH, bands=4), "(4 bands")

def test_an_image_that_is_no_tensor():
    images = {**BATCH, "pan": BATCH["pan"].numpy()}
    refused(lambda: check_images(images), "pan must be a floating point torch tensor", TypeError)

@pytest.mark.parametrize("name", BATCH)
def test_digital_numbers(name):
    images = {**BATCH, name: torch.full_like(BATCH[name], 1023)}
    refused(lambda: check_images(images), f"{name} reaches 1023; divide by the sensor's full scale first")

@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize("name", BATCH)
def test_one_column_that_is_not_finite(name, bad):
    images = {**BATCH, name: BATCH[name].clone().index_fill_(3, torch.tensor([1]), bad)}
    refused(lambda: check_images(images), f"{name} holds NaN")

@pytest.mark.parametrize("change, weights, words", [
    (dict(pan=BATCH["pan"].double()), None, "pan is torch.float64 on cpu"),
    (dict(ms=BATCH["ms"].to("meta")), None, "ms is torch.float32 on meta"),
    ({}, torch.zeros(1, dtype=torch.float64), "the network is torch.float64"),
])
def test_types_or_devices_that_differ(change, weights, words):
    refused(lambda: check_kinds({**BATCH, **change}, weights), words, TypeError)


# The steps to visit

@pytest.mark.parametrize("steps", [0, 1001, True, 1.5, None])
def test_no_number_of_steps(steps):
    refused(lambda: spaced(ALPHA_BAR, steps), f"steps must be a whole number from 1 to 1000, got {steps}")

def test_an_unknown_spacing():
    refused(lambda: spaced(ALPHA_BAR, 4, "wide"), "spacing 'wide' is unknown; choose one of even, quadratic, snr")


# The diffusion

@pytest.mark.parametrize("options, words", [
    *((dict(steps=n), f"steps must be a whole number of at least 1, got {n}") for n in (0, True, 1.5, None)),
    (dict(schedule="quadratic"), "choose one of cosine, linear"),
    (dict(schedule={}), "choose one of cosine, linear"),
    (dict(scale=0), "scale must be a positive number"),
    (dict(normalise=2.), "normalise must lie in 0…1"),
])
def test_no_diffusion(options, words): refused(lambda: Diffusion(**options), words)

@pytest.mark.parametrize("t, words", [
    ([1000], "t must be integer steps from 0 to 999, found [1000]"),
    ([0.5], "t must be integer steps"),
    ([1, 2], "one for each of 1 images, found shape (2,)"),
])
def test_no_steps_of_the_process(t, words): refused(lambda: D.q_sample(ONE["gt"], torch.tensor(t)), words)

@pytest.mark.parametrize("change, words, kind", [
    (dict(gt=BATCH["gt"] / 0), "gt holds NaN", ValueError),
    (dict(ms=BATCH["ms"].double()), "ms is torch.float64", TypeError),
])
def test_a_batch_without_a_loss(change, words, kind): refused(lambda: D.loss(net, {**BATCH, **change}), words, kind)

def test_a_batch_that_lacks_images():
    lacking = {k: v for k, v in BATCH.items() if k not in ("gt", "ms")}
    refused(lambda: D.loss(net, lacking), "the batch lacks gt, ms")


# Sampling

@pytest.mark.parametrize("how, words", [
    (dict(steps=0), "from 1 to 1000"),
    (dict(steps=True), "steps must be a whole number"),
    (dict(spacing="no"), "choose one of even"),
    (dict(sampler="euler"), "choose one of ddim, ddpm, dpmpp_2m"),
    (dict(eta=2), "eta must lie in"),
    (dict(sampler="ddpm", eta=0.5), "eta belongs to ddim"),
    (dict(sampler="dpmpp_2m", eta=0.5), "dpmpp_2m takes none"),
    (dict(window=30), "multiples of 4"),
    (dict(batch=0), "batch must be a whole number of at least 1"),
    (dict(blend="no"), "choose step or run"),
    (dict(blend="run", callback=print), "callback sees whole images"),
    (dict(seed=1.5), "seed must be a whole number, got 1.5"),
    (dict(seed=None), "seed must be a whole number, got None"),
    (dict(index=None), "index must be a whole number"),
    (dict(index=torch.arange(2)), "one for each of 1 images"),
])
def test_no_way_to_sample(how, words):
    refused(lambda: D.sample(net, ONE["pan"], ONE["lms"], ONE["ms"], progress=False, **how), words)

@pytest.mark.parametrize("change, words, kind", [
    (dict(ms=ONE["ms"] * NAN), "ms holds NaN", ValueError),
    (dict(pan=ONE["pan"].double()), "pan is torch.float64", TypeError),
    ({k: 2047 * v for k, v in ONE.items()}, "divide by the sensor", ValueError),
])
def test_nothing_to_sample_from(change, words, kind):
    images = {**ONE, **change}
    refused(lambda: D.sample(net, images["pan"], images["lms"], images["ms"], progress=False), words, kind)
