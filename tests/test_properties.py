"""What must hold for any image: shapes, types, strides, ranges, bands, windows.

Some 480 examples by default.
`EXAMPLES=42 pytest tests/test_properties.py` takes 42 times as many, more than 20 000, and draws other ones every time.
"""
import os
import tempfile

import h5py
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings, strategies as st

import ssdiff
from ssdiff import metrics
from ssdiff.classical import METHODS
from ssdiff.checking import check_file
from ssdiff.data import PanData
from ssdiff.schedules import spaced, SPACINGS
from ssdiff.diffusion import Diffusion
from ssdiff.windows import ramps
from ssdiff.place_noise import gaussian
from ssdiff.resampling import bicubic_reduce, decimate, mtf_blur, pan_mtf_blur, upsample23, wald
from ssdiff.sensors import SENSORS
from ssdiff.catalogue import get_method
from ssdiff.network import toy_network
from ssdiff.sharpening import sharpen_arrays

pytestmark = pytest.mark.usefixtures("one_thread")
TIMES = int(os.environ.get("EXAMPLES", 1))

def examples(n):
    "So many examples of a property, or a multiple of that."
    return settings(max_examples=n*TIMES, deadline=None, derandomize=TIMES == 1, database=None,
        suppress_health_check=list(HealthCheck))


sides, seeds, names = st.integers(1, 24), st.integers(0, 2**32 - 1), st.sampled_from(sorted(SENSORS))
dtypes = st.sampled_from(["u1", "u2", "i2", "i4", "u4", "i8", "f2", "f4", "f8", ">u2", ">f4", ">f8"])


def laid_out(draw, x):
    "The same values in another memory layout: transposed, reversed, every second of something, read-only."
    kind = draw(st.sampled_from(["plain", "bands last", "reversed", "sparse", "read-only"]))
    if kind == "bands last": return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 0, -1)), -1, 0)
    if kind == "reversed": return x[:, ::-1, ::-1].copy()[:, ::-1, ::-1]
    if kind == "sparse": return x.repeat(2, -1)[..., ::2]
    if kind == "read-only":
        x = x.copy()
        x.flags.writeable = False
    return x


@st.composite
def images(draw, bands=st.integers(1, 9), height=sides, width=sides, top=2047):
    "An image of any real type and layout: noise, flat, black, saturated, or with a single bright pixel."
    c, h, w = draw(bands), draw(height), draw(width)
    kind = draw(st.sampled_from(["noise", "flat", "black", "saturated", "spike"]))
    rng, dtype = np.random.default_rng(draw(seeds)), np.dtype(draw(dtypes))
    most = min(top, np.iinfo(dtype).max) if dtype.kind in "iu" else top
    x = {"noise": lambda: rng.integers(0, most, (c, h, w), endpoint=True),
         "flat": lambda: np.full((c, h, w), rng.integers(1, most)),
         "black": lambda: np.zeros((c, h, w)),
         "saturated": lambda: np.full((c, h, w), most),
         "spike": lambda: (np.arange(c*h*w) == rng.integers(c*h*w)).reshape(c, h, w)*most}[kind]()
    return laid_out(draw, x.astype(dtype))


@st.composite
def pairs(draw, sensor=None, largest=12):
    "PAN and MS of a sensor, of any type and layout."
    s = SENSORS[draw(names) if sensor is None else sensor]
    h, w, top = draw(st.integers(1, largest)), draw(st.integers(1, largest)), s.full_scale
    ms = draw(images(st.just(s.n_bands), st.just(h), st.just(w), top))
    return s, draw(images(st.just(1), st.just(4*h), st.just(4*w), top)), ms


def as_torch(x): return torch.from_numpy(np.ascontiguousarray(x).astype(x.dtype.newbyteorder("="), copy=False).copy())


@examples(40)
@given(st.data(), names, st.integers(1, 3), st.integers(1, 5), st.integers(1, 5), dtypes,
    st.sampled_from([None, "gzip", "lzf"]), st.booleans(), seeds)
def test_the_reader_returns_what_was_written(data, name, n, h, w, dtype, compression, shuffle, seed):
    s, rng = SENSORS[name], np.random.default_rng(seed)
    top = min(s.full_scale, np.iinfo(dtype).max if np.dtype(dtype).kind in "iu" else s.full_scale)
    fine, coarse = (n, s.n_bands, 4*h, 4*w), (n, s.n_bands, h, w)
    shapes = dict(gt=fine, ms=coarse, lms=fine, pan=(n, 1, 4*h, 4*w))
    arrays = {k: rng.integers(2, top, shape, endpoint=True).astype(dtype) for k, shape in shapes.items()}
    with tempfile.TemporaryDirectory() as d:
        with h5py.File(f"{d}/x.h5", "w") as f:
            for k, v in arrays.items():
                chunked = compression or data.draw(st.booleans())
                chunks = tuple(data.draw(st.integers(1, k)) for k in v.shape) if chunked else None
                how = dict(shuffle=shuffle) if compression else {}
                f.create_dataset(k, data=v, chunks=chunks, compression=compression, **how)
        assert check_file(f"{d}/x.h5", name, "train") == {k: v.shape for k, v in arrays.items()}
        found = PanData(f"{d}/x.h5", name)
        for k, v in arrays.items():
            np.testing.assert_array_equal(found[n - 1][k].numpy(), v[-1].astype("f4")/np.float32(s.full_scale))


def fits(sensor, x): return sensor.first(len(x)) if len(x) <= sensor.n_bands else None


@examples(40)
@given(images(), names, st.sampled_from([2, 3, 4]))
def test_filters_keep_shape_kind_and_range(x, name, ratio):
    sensor = fits(SENSORS[name], x); assume(sensor)
    y, plain = mtf_blur(x, sensor, ratio), np.ascontiguousarray(x).astype(float)
    assert y.shape == x.shape and y.dtype == np.float64
    np.testing.assert_array_equal(y, mtf_blur(plain, sensor, ratio))
    assert y.min() >= plain.min() - .02*abs(plain).max() - 1e-9 and y.max() <= plain.max() + .02*abs(plain).max() + 1e-9
    np.testing.assert_allclose(mtf_blur(3*plain, sensor, ratio), 3*y, rtol=1e-9, atol=1e-8)
    np.testing.assert_allclose(mtf_blur(plain[..., ::-1], sensor, ratio), y[..., ::-1], rtol=1e-9, atol=1e-8)
    turned = pan_mtf_blur(plain[:1].swapaxes(1, 2), sensor, ratio)
    np.testing.assert_allclose(turned, pan_mtf_blur(plain[:1], sensor, ratio).swapaxes(1, 2), rtol=1e-9, atol=1e-8)
    single = mtf_blur(as_torch(x).float(), sensor, ratio)
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single.double().numpy(), y, rtol=1e-6, atol=1e-3)


@examples(40)
@given(images(), st.sampled_from([2, 4]))
def test_interpolation_and_reduction(x, ratio):
    up, plain = upsample23(x, ratio), np.ascontiguousarray(x).astype(float)
    assert up.shape == (len(x), ratio*x.shape[1], ratio*x.shape[2])
    np.testing.assert_array_equal(decimate(up, ratio), plain)
    np.testing.assert_array_equal(up, upsample23(plain, ratio))
    np.testing.assert_allclose(upsample23(2*plain + 5, ratio), 2*up + 5, rtol=1e-9, atol=1e-6)
    low = bicubic_reduce(x, ratio)
    assert low.shape == (len(x), -(-x.shape[1]//ratio), -(-x.shape[2]//ratio))
    np.testing.assert_allclose(bicubic_reduce(2*plain + 5, ratio), 2*low + 5, rtol=1e-9, atol=1e-6)
    assert np.isfinite(up).all() and np.isfinite(low).all()


@examples(25)
@given(pairs(largest=5))
def test_walds_protocol(pair):
    s, pan, ms = pair
    if ms.shape[1] % 4 or ms.shape[2] % 4:
        with pytest.raises(ValueError, match="multiples of 4"): wald(ms, pan, s)
        pan, ms = np.tile(pan, (1, 4, 4)), np.tile(ms, (1, 4, 4))
    low, coarse = wald(ms, pan, s)
    assert low.shape == (len(ms), ms.shape[1]//4, ms.shape[2]//4) and coarse.shape == (1, *ms.shape[1:])
    assert np.isfinite(low).all() and np.isfinite(coarse).all()


INDICES = dict(sam=metrics.sam, ergas=metrics.ergas, scc=metrics.scc,
    uiqi=lambda a, b: metrics.uiqi(a, b, 4), q2n=lambda a, b: metrics.q2n(a, b, 4))

@examples(60)
@given(st.data(), st.integers(1, 9), st.integers(4, 20), st.integers(4, 20))
def test_indices_have_their_range_or_say_why_not(data, c, h, w):
    x, y = (data.draw(images(*map(st.just, (c, h, w)))) for _ in "xy")
    order, gain = data.draw(st.permutations(range(c))), data.draw(st.floats(.01, 100))
    for name, f in INDICES.items():
        try: value = f(x, y)
        except ValueError as e: assert "undefined" in str(e); continue
        assert isinstance(value, float) and np.isfinite(value)
        assert {"sam": 0 <= value <= 180, "ergas": value >= 0}.get(name, -1 - 1e-9 <= value <= 1 + 1e-9), (name, value)
        a, b = (np.ascontiguousarray(v).astype(float) for v in (x, y))
        assert f(a, b) == value == f(as_torch(x).double(), as_torch(y).double())
        assert f(np.stack([a, a]), np.stack([b, b])).tolist() == pytest.approx([value]*2, rel=1e-12, abs=1e-12)
        if name != "q2n": np.testing.assert_allclose(f(a[list(order)], b[list(order)]), value, rtol=1e-7, atol=1e-5)
        if name != "q2n": np.testing.assert_allclose(f(gain*a, gain*b), value, rtol=1e-7, atol=1e-5)
        if name in ("sam", "scc", "uiqi"): np.testing.assert_allclose(f(b, a), value, rtol=1e-7, atol=1e-5)


@examples(25)
@given(st.data(), names, st.integers(1, 3), st.integers(1, 3))
def test_indices_without_a_truth_lie_between_0_and_1(data, name, rows, columns):
    s = SENSORS[name]
    shape = lambda c, k: (st.just(c), st.just(k*rows), st.just(k*columns))
    grids = (s.n_bands, 16), (s.n_bands, 16), (s.n_bands, 4), (1, 16)
    fused, lms, ms, pan = (data.draw(images(*shape(c, k))) for c, k in grids)
    try: values = metrics.hqnr(fused, ms, lms, pan, s, block=16)
    except ValueError as e: assert "undefined" in str(e); return
    assert all(-1e-9 <= v <= 1 + 1e-9 for v in values), values


@examples(60)
@given(pairs(), st.sampled_from(sorted(METHODS)))
def test_every_fusion_gives_finite_images_of_the_right_kind(pair, method):
    s, pan, ms = pair
    try: fused = METHODS[method](ms, pan, s)
    except ValueError as e: assert len(str(e)) > 20; return
    assert fused.shape == (s.n_bands, *pan.shape[1:]) and fused.dtype == np.float64 and np.isfinite(fused).all()
    plain = (np.ascontiguousarray(x).astype(float) for x in (ms, pan))
    np.testing.assert_array_equal(fused, METHODS[method](*plain, s))
    if method == "EXP": np.testing.assert_array_equal(fused, upsample23(ms))


@examples(40)
@given(pairs(), st.sampled_from(sorted(METHODS)), st.sampled_from([32, 36, 64]))
def test_sharpening_keeps_the_type_and_needs_no_window(pair, method, window):
    s, pan, ms = pair
    try: whole = ssdiff.sharpen(pan, ms, sensor=s, method=method)
    except (ValueError, TypeError) as e: assert len(str(e)) > 20; return
    parts = ssdiff.sharpen(pan, ms, sensor=s, method=method, window=window)
    assert whole.dtype == ms.dtype and whole.shape == (s.n_bands, *pan.shape[1:])
    assert np.isfinite(whole.astype(float)).all()
    step = 1 if ms.dtype.kind in "iu" else 4*np.finfo(ms.dtype.newbyteorder("=")).eps*s.full_scale
    assert abs(whole.astype(float) - parts.astype(float)).max() <= step + 1e-6*s.full_scale


NETS = {bands: toy_network(bands) for bands in (4, 8)}

@examples(4)
@given(st.data(), st.sampled_from(["WV3", "GF2"]), st.integers(1, 3), seeds)
def test_a_network_sharpens_any_type_and_stays_in_range(data, name, steps, seed):
    s, pan, ms = data.draw(pairs(name, 6))
    try: fused = sharpen_arrays(pan, ms, s, get_method("SSDiff", s, NETS[s.n_bands], steps), seed=seed)
    except (ValueError, TypeError) as e: assert len(str(e)) > 20; return
    assert fused.dtype == ms.dtype and np.isfinite(fused.astype(float)).all()
    assert fused.min() >= 0 and fused.max() <= s.full_scale


@examples(60)
@given(st.integers(1, 200), st.integers(1, 24), st.data())
def test_windows_are_a_partition_of_unity(size, window, data):
    window *= 4
    overlap = data.draw(st.integers(0, window//2))
    total = torch.zeros(size)
    for start, weights in ramps(size, window, overlap):
        assert 0 <= start and start + len(weights) <= size and (weights > 0).all()
        total[start:start + len(weights)] += weights
    np.testing.assert_allclose(total, 1, rtol=1e-5)


def eye(x_t, t, pan, lms, ms): return .1*x_t + pan - lms + ms.repeat_interleave(4, -1).repeat_interleave(4, -2)

@examples(30)
@given(st.data(), st.integers(1, 2), st.integers(1, 4), st.integers(1, 6), st.integers(1, 6), st.integers(1, 5),
    st.sampled_from(["ddim", "ddpm"]), st.integers(-2**70, 2**70), st.sampled_from(["step", "run"]))
def test_sampling_depends_on_seed_and_place_alone(data, n, bands, h, w, steps, sampler, seed, blend):
    g, d = torch.Generator().manual_seed(h*w), Diffusion(scale=.05, normalise=data.draw(st.sampled_from([0., .06])))
    pan, lms, ms = (torch.rand(n, c, k*h, k*w, generator=g) for c, k in ((1, 4), (bands, 4), (bands, 1)))
    how = dict(steps=steps, sampler=sampler, seed=seed, blend=blend, progress=False, window=8, overlap=4)
    once = d.sample(eye, pan, lms, ms, batch=1, **how)
    assert once.shape == lms.shape and once.min() >= 0 and once.max() <= 1
    assert torch.equal(once, d.sample(eye, pan, lms, ms, batch=5, **how))
    assert torch.equal(once[-1:], d.sample(eye, pan[-1:], lms[-1:], ms[-1:], **how))
    strided = d.sample(eye, *(x.transpose(-1, -2).contiguous().transpose(-1, -2) for x in (pan, lms, ms)), **how)
    tolerance = 1e-4 if d.normalise else 0  # a scene's mean is rounded differently along another axis
    assert torch.allclose(once, strided, rtol=0, atol=tolerance)


@examples(30)
@given(st.integers(-2**70, 2**70), st.integers(0, 2000), st.integers(1, 9),
    st.integers(-10**12, 10**12), st.integers(-10**12, 10**12))
def test_noise_is_a_function_of_the_place(seed, draw, bands, y, x):
    at = lambda rows, cols: gaussian(seed, torch.tensor([3]), draw, bands, rows, cols)
    whole = at(torch.arange(y, y + 9), torch.arange(x, x + 7))
    assert torch.isfinite(whole).all()
    assert torch.equal(whole[..., 4:5, 2:3], at(torch.tensor([y + 4]), torch.tensor([x + 2])))


@examples(30)
@given(st.integers(1, 3000), st.sampled_from(SPACINGS), st.data())
def test_steps_descend_from_pure_noise(total, spacing, data):
    steps = data.draw(st.integers(1, total))
    times = spaced(Diffusion(total).alpha_bar, steps, spacing)
    assert len(times) == steps and times[0] == total - 1 and times[-1] >= 0
    assert all(a > b for a, b in zip(times, times[1:]))
