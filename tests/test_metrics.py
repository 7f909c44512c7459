"""Properties of the indices and methods on inputs of which nobody wrote down a figure."""

import warnings
from itertools import permutations

import naive
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torchmetrics import MetricCollection

from ssdiff import classical, metrics, mtf, q_indices, resampling, running_indices
from ssdiff.sensors import SENSORS

pytestmark = pytest.mark.usefixtures("one_thread")
few = settings(max_examples=20, deadline=None, derandomize=True)
PAIRWISE = dict(
    sam=metrics.sam,
    ergas=metrics.ergas,
    q2n=lambda a, b: metrics.q2n(a, b, 16),
    scc=metrics.scc,
    uiqi=lambda a, b: metrics.uiqi(a, b, 16),
)


@st.composite
def image_pairs(draw, low=18, high=40, blemish=True):
    """Two related images, quarter digital numbers in the test, with flat, zero and saturated patches in one or both."""
    c, h, w = draw(st.integers(1, 9)), draw(st.integers(low, high)), draw(st.integers(low, high))
    rng = np.random.default_rng(draw(st.integers(0, 2**32-1)))
    gt = rng.integers(1, 2048, (c, h, w)).astype(float)
    gain, noise = rng.uniform(.8, 1.2), rng.normal(scale=draw(st.sampled_from([0, 3, 200])), size=gt.shape)
    fused = np.round(4*(gt*gain + noise))/4
    for _ in range(draw(st.integers(0, 3)) if blemish else 0):
        (y, x), value = rng.integers(0, 16, 2), draw(st.sampled_from([0, 1, 700, 2047]))
        bands = slice(None) if draw(st.booleans()) else slice(0, 1)
        for im in draw(st.sampled_from([(gt,), (fused,), (gt, fused)])): im[bands, y:y+20, x:x+20] = value
    return gt, fused


@few
@given(image_pairs())
def test_indices_equal_the_plain_ones(pair):
    gt, fused = pair
    for name in ("sam", "ergas", "scc"):
        plain = getattr(naive, name)(gt, fused)
        np.testing.assert_allclose(PAIRWISE[name](gt, fused), plain, rtol=1e-10, atol=1e-8)
    np.testing.assert_allclose(metrics.uiqi(gt, fused, 16), naive.q(gt, fused, 16), rtol=0, atol=1e-9)
    np.testing.assert_allclose(metrics.q2n(gt, fused, 16), naive.q2n(gt, fused, 16), rtol=0, atol=1e-9)


@few
@given(image_pairs(low=32), st.sampled_from([(8, 8), (8, 4), (12, 12), (15, 7), (32, 32), (32, 9)]))
def test_q2n_for_any_block_and_shift(pair, blocks):
    np.testing.assert_allclose(metrics.q2n(*pair, *blocks), naive.q2n(*pair, *blocks), rtol=0, atol=1e-9)


@few
@given(st.integers(2, 8), st.integers(1, 3), st.integers(1, 3),
       st.sampled_from([16, 32]), st.sampled_from([None, 0, 700]), st.integers(0, 2**32-1))
def test_full_resolution_equals_the_plain_one(bands, rows, columns, block, hole, seed):
    rng, (h, w) = np.random.default_rng(seed), (rows*block, columns*block)
    fused = np.round(4*rng.uniform(0, 2047, (bands, h, w)))/4
    ms = rng.integers(1, 2048, (bands, h//4, w//4)).astype(float)
    lms = rng.uniform(0, 2047, (bands, h, w))
    pan = rng.integers(1, 2048, (1, h, w)).astype(float)
    images = fused, ms, lms, pan
    if hole is not None:
        for v in images: v[..., :block, :block] = hole
    sensor = SENSORS["WV3"].first(bands)
    r = metrics.full(*images, sensor, block)
    coarse, filtered = resampling.upsample23(resampling.bicubic_reduce(pan)), mtf.mtf_blur(fused, sensor)
    khan = 1 - naive.q2n(lms, filtered, block)
    d_s, classic = naive.d_s(fused, lms, pan, coarse, block), naive.d_lambda(fused, lms, block)
    plain = dict(D_lambda_K=khan, D_s=d_s, D_lambda=classic, HQNR=(1-khan)*(1-d_s), QNR=(1-classic)*(1-d_s))
    np.testing.assert_allclose([r[k] for k in plain], list(plain.values()), rtol=0, atol=1e-9)


@few
@given(image_pairs(blemish=False), st.sampled_from([np.uint8, np.uint16, np.int32, np.float32, np.float64]),
       st.booleans())
def test_kinds_of_input_agree(pair, dtype, contiguous):
    gt, fused = ((x/9).clip(0, 255).astype(dtype) for x in pair)
    if not contiguous:
        gt, fused = (x.transpose(1, 2, 0).copy().transpose(2, 0, 1)[:, ::-1] for x in (gt, fused))
    for name, f in PAIRWISE.items():
        single = f(gt, fused)
        assert isinstance(single, float)
        assert single == f(gt.astype(float), fused.astype(float))
        batch = f(np.stack([gt, gt]), np.stack([fused, gt]))
        tensor = f(torch.from_numpy(np.stack([gt, gt])), torch.from_numpy(np.stack([fused, gt])))
        assert batch.dtype == np.float64 and tensor.dtype == torch.float64
        assert batch.shape == tuple(tensor.shape) == (2,)
        # a tensor keeps its strides and may add in another order; near 0 degrees the arccos magnifies that
        np.testing.assert_allclose(batch, tensor.numpy(), rtol=0, atol=1e-10 if name == "sam" else 1e-12)
        np.testing.assert_allclose(batch[0], single, rtol=0, atol=1e-12)


@few
@given(image_pairs())
def test_identity_is_ideal_and_inputs_are_left_alone(pair):
    gt, fused = pair
    kept = gt.copy(), fused.copy()
    for name, f in PAIRWISE.items():
        np.testing.assert_allclose(f(gt, gt), 0 if name in ("sam", "ergas") else 1, atol=1e-10)
        f(gt, fused)
    np.testing.assert_array_equal((gt, fused), kept)


@few
@given(st.integers(3, 20), st.integers(3, 20), st.integers(1, 5), st.sampled_from([2, 4]))
def test_decimation_undoes_interpolation(h, w, c, ratio):
    x = np.random.default_rng(h*w).uniform(0, 2047, (c, h, w))
    up = resampling.upsample23(x, ratio)
    assert up.shape == (c, ratio*h, ratio*w)
    np.testing.assert_array_equal(resampling.decimate(up, ratio), x)
    np.testing.assert_allclose(resampling.bicubic_reduce(np.full((c, h, w), 3.)), 3, rtol=1e-14)


@few
@given(st.sampled_from(sorted(SENSORS)), st.integers(4, 10), st.integers(4, 10),
       st.sampled_from(["numpy", "float32", "float64"]), st.booleans())
def test_methods_keep_the_kind(name, h, w, kind, batch):
    rng, bands = np.random.default_rng(h+w), SENSORS[name].n_bands
    ms, pan = rng.integers(0, 2048, (bands, h, w)), rng.integers(0, 2048, (1, 4*h, 4*w))
    expected = {m: f(ms, pan, name) for m, f in classical.METHODS.items()}
    if batch: ms, pan = ms[None], pan[None]
    if kind != "numpy": ms, pan = (torch.from_numpy(v).to(getattr(torch, kind)) for v in (ms, pan))
    rtol, atol = (1e-5, 1e-2) if kind == "float32" else (1e-9, 1e-9)
    for m, f in classical.METHODS.items():
        out = f(ms, pan, name.lower())
        assert type(out) is type(ms) and out.shape == (*ms.shape[:-2], 4*h, 4*w)
        assert kind == "numpy" or out.dtype == ms.dtype
        np.testing.assert_allclose(np.asarray(out).reshape(expected[m].shape), expected[m], rtol=rtol, atol=atol)


def scene(bands=4, size=64, seed=0):
    rng = np.random.default_rng(seed)
    ms = rng.integers(1, 2048, (bands, size//4, size//4))
    fused = rng.uniform(0, 2047, (bands, size, size))
    return fused, ms, resampling.upsample23(ms), rng.integers(1, 2048, (1, size, size))


@pytest.mark.parametrize("hole", [0, 700, 700.1])
def test_blocks_without_content_give_no_nan(hole):
    images = [np.array(v, float) for v in scene()]
    for v in images: v[:, :v.shape[1]//2, :v.shape[2]//2] = hole
    images[2] = np.array(images[2])
    assert np.isfinite(list(metrics.full(*images, "QB").values())).all()
    assert np.isfinite(list(metrics.reduced(images[0], images[0]+1, border=None).values())).all()
    assert np.isfinite(metrics.hqnr_map(*images, "QB")).all()


@pytest.mark.parametrize("value", [0, 1, 500, .1])
def test_flat_images(value):
    flat = lambda c, n: np.full((c, n, n), float(value))
    for name, f in classical.METHODS.items():
        assert np.isfinite(f(flat(8, 16), flat(1, 64), "WV3")).all(), name
    args = flat(8, 64), flat(8, 16), resampling.upsample23(flat(8, 16)), flat(1, 64)
    np.testing.assert_allclose([metrics.d_s(*args), metrics.d_lambda(*args)], 0, atol=1e-12)
    assert 0 <= metrics.d_lambda_k(*args, "WV3") <= 1
    if value: assert metrics.uiqi(flat(1, 40), flat(1, 40)) == 1
    else:
        for f in (metrics.sam, metrics.ergas, metrics.scc):
            with pytest.raises(ValueError, match="undefined for image"): f(flat(2, 40), flat(2, 40))


def test_one_undefined_image_of_a_batch_is_named():
    gt = np.ones((3, 2, 8, 8))
    gt[1] = 0
    with pytest.raises(ValueError, match=r"SAM is undefined for image\(s\) \[1\]"): metrics.sam(gt, gt)


BAD = {
    "another size": (lambda f, m, l, p: (f[:, :32], m, l, p), "fused and lms need one shape"),
    "another band count": (lambda f, m, l, p: (f, m[:3], l, p), "bands of ms"),
    "not a multiple of the block": (
        lambda f, m, l, p: (f[..., :48], m[..., :12], l[..., :48], p[..., :48]), "multiples of the block 32"),
    "PAN with two bands": (lambda f, m, l, p: (f, m, l, np.repeat(p, 2, 0)), "pan needs one band"),
    "PAN without a band axis": (lambda f, m, l, p: (f, m, l, p[0]), r"pan: needs shape \(C,H,W\)"),
    "a NaN": (lambda f, m, l, p: (np.where(f == f.max(), np.nan, f), m, l, p), "fused: 1 of 16384 values are NaN"),
    "ratio 3": (lambda f, m, l, p: (f, m[:, :10, :10], l, p), "2 or 4 times as large as ms"),
    "half a batch": (lambda f, m, l, p: (f[None], m, l, p), "as many images"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_gets_one_clear_error(what):
    change, message = BAD[what]
    with pytest.raises(ValueError, match=message): metrics.full(*change(*scene()), "QB")


def test_bad_kinds():
    f, m, l, p = scene()
    with pytest.raises(TypeError, match="one kind"): metrics.full(torch.from_numpy(f), m, l, p, "QB")
    with pytest.raises(TypeError, match="fused: needs real numbers"): metrics.sam(f, f.astype(complex))
    message = "(gt|fused): needs a NumPy array or a torch tensor, got (list|NoneType)"
    for pair in ((f.tolist(), f.tolist()), (f.tolist(), f), (f, f.tolist()), (None, f), (f, None)):
        for index in (*PAIRWISE.values(), metrics.reduced, metrics.sam_map, metrics.q2n_map):
            with pytest.raises(TypeError, match=message): index(*pair)
    with pytest.raises(ValueError, match="one shape"): metrics.reduced(f, f[:3])
    message = "unknown sensor 'MODIS'; known are WV3, WV2, QB, GF2"
    with pytest.raises(ValueError, match=message): metrics.hqnr(f, m, l, p, "MODIS")
    for index in (metrics.d_s, metrics.d_lambda, metrics.qnr):
        with pytest.raises(ValueError, match="unknown sensor 'MODIS'"): index(f, m, l, p, "MODIS")


@pytest.mark.parametrize("ratio", [0, 1, -4, 2.5, float("nan"), float("inf"), "4", None])
def test_every_function_checks_the_ratio(ratio):
    f, m, _, p = scene()
    calls = [
        lambda: mtf.mtf_kernel(.3, ratio),
        lambda: mtf.gauss_kernel(ratio),
        lambda: mtf.mtf_blur(f, "QB", ratio),
        lambda: mtf.pan_mtf_blur(p, "QB", ratio),
        lambda: mtf.gauss_blur(p, ratio),
        lambda: resampling.decimate(f, ratio),
        lambda: resampling.bicubic_reduce(f, ratio),
        lambda: resampling.wald(m, p, "QB", ratio),
        *(lambda g=g: g(m, p, "QB", ratio) for g in classical.METHODS.values()),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="ratio must be a whole number of at least 2, got"): call()
    with pytest.raises(ValueError, match="ratio 2 or 4"): resampling.upsample23(m, ratio)


def test_whole_floats_are_whole():
    f, m, l, p = scene()
    for g in classical.METHODS.values(): np.testing.assert_array_equal(g(m, p, "QB", 4.), g(m, p, "QB", 4))
    assert metrics.full(f, m, l, p, "QB", 32.) == metrics.full(f, m, l, p, "QB", 32)
    np.testing.assert_array_equal(metrics.hqnr_map(f, m, l, p, "QB", 16.), metrics.hqnr_map(f, m, l, p, "QB", 16))
    assert metrics.uiqi(f, f[::-1].copy(), 16.) == metrics.uiqi(f, f[::-1].copy(), 16)


def test_blocks_and_shifts_are_checked():
    f, m, l, p = scene()
    calls = (
        lambda block: metrics.uiqi(f, f, block),
        lambda block: metrics.uiqi_map(f, f, block),
        lambda block: metrics.q2n(f, f, block),
        lambda block: metrics.full(f, m, l, p, "QB", block),
    )
    for block in (0, -1, 7.5):
        for g in calls:
            with pytest.raises(ValueError, match="block must be a whole number of at least"): g(block)
    for g in (metrics.q2n, metrics.q2n_map):
        with pytest.raises(ValueError, match="shift must be a whole number of at least 1, got 0"): g(f, f, 32, 0)


def test_masked_and_huge_values_are_refused():
    f, m, _, p = scene()
    masked = np.ma.masked_values(f, f.max())
    with pytest.raises(ValueError, match="fused: 1 of 16384 values are masked"): metrics.sam(f, masked)
    with pytest.raises(ValueError, match=r"ms: values from .* beyond 1e\+70"): classical.bt_h(1e80*m, p, "QB")
    top = f*(1e70/f.max())
    assert np.isfinite(list(metrics.reduced(top, top[::-1].copy(), border=None).values())).all()


def test_fewer_bands_than_the_sensor_warn():
    _, m, _, p = scene()
    for name, method in classical.METHODS.items():
        with pytest.warns(UserWarning, match=r"ms has 3 band\(s\) but sensor QB has 4") as seen:
            fused = method(m[:3], p, "QB")
        assert len(seen) == 1, name
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            np.testing.assert_array_equal(fused, method(m[:3], p, SENSORS["QB"].first(3)))


def test_full_of_one_band():
    images = [v[:1] for v in scene()]
    assert list(metrics.full(*images, SENSORS["QB"].first(1))) == ["D_lambda_K", "D_s", "HQNR"]


def test_clipping_is_the_toolbox_s():
    f, m, l, p = scene()
    over, small = 3*f - 1000, f.astype(np.uint8)
    clipped = metrics.reduced(f, over, border=None, clip_bits=11)
    assert clipped == metrics.reduced(f, over.clip(0, 2048), border=None)
    assert metrics.reduced(small, small, border=None, clip_bits=11)["Q"] == pytest.approx(1, abs=1e-12)
    clipped = metrics.full(over, m, l, p, "QB", clip_bits=11)
    assert clipped == metrics.full(over.clip(0, 2048), m, l, p, "QB") != metrics.full(over, m, l, p, "QB")


@pytest.mark.parametrize("f", [
    lambda v, s: mtf.mtf_blur(v, "QB"),
    lambda v, s: mtf.pan_mtf_blur(v[:, :1], "QB"),
    lambda v, s: mtf.gauss_blur(v),
    lambda v, s: resampling.upsample23(v),
    lambda v, s: resampling.bicubic_reduce(v),
    lambda v, s: resampling.wald(v, s, "QB")[0],
    lambda v, s: resampling.wald(v, s, "QB")[1],
])
def test_float32_is_computed_in_double(f):
    rng = torch.Generator().manual_seed(0)
    x, pan = torch.rand(1, 4, 64, 64, generator=rng)*2047, torch.rand(1, 1, 256, 256, generator=rng)*2047
    out = f(x, pan)
    assert out.dtype == torch.float32 and torch.equal(out, f(x.double(), pan.double()).float())


def test_a_first_call_in_inference_mode_leaves_nothing_behind():
    for cached in (mtf._cached_kernel, resampling._bicubic_weights, q_indices._sign_table): cached.cache_clear()
    images = [torch.from_numpy(np.asarray(v, float)) for v in scene()]
    def run():
        for g in classical.METHODS.values(): g(images[1], images[3], "QB")
        metrics.full(*images, "QB")
    with torch.inference_mode(): run()
    images[1].requires_grad_()
    images[3].requires_grad_()
    run()
    resampling.bicubic_reduce(images[3]).sum().backward()
    assert images[3].grad.sum() == pytest.approx(images[3][..., ::4, ::4].numel())


@pytest.mark.parametrize("name", classical.METHODS)
def test_methods_take_tensors_that_want_gradients(name):
    _, m, _, p = scene()
    leaf = torch.from_numpy(m).double().requires_grad_()
    fused = classical.METHODS[name](leaf, torch.from_numpy(p), "QB")
    np.testing.assert_array_equal(fused.detach(), classical.METHODS[name](m, p, "QB"))
    fused.sum().backward()
    assert torch.isfinite(leaf.grad).all() and leaf.grad.any()


def test_metric_classes_accumulate_images_not_batches():
    f = torch.from_numpy(np.stack([scene(seed=s)[0] for s in range(5)])).float()/2047
    gt = (f + .01*torch.randn(f.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    indices = {
        running_indices.SAM: metrics.sam,
        running_indices.ERGAS: metrics.ergas,
        running_indices.Q2n: metrics.q2n,
        running_indices.SCC: metrics.scc,
        running_indices.UIQI: metrics.uiqi,
    }
    for cls, index in indices.items():
        m = cls(scale=2047)
        for part in (slice(0, 1), slice(1, 5)): m.update(f[part], gt[part])
        each = index(gt.double()*2047, f.double()*2047)
        np.testing.assert_allclose([m.compute(), m.std()], [each.mean(), each.std()], rtol=1e-12)
        m.reset()
        with pytest.raises(ValueError, match="has not seen an image"): m._all()


def test_metric_classes_merge_over_processes():
    """What torchmetrics does when it gathers: the list becomes one tensor."""
    m = running_indices.SAM()
    m.update(torch.ones(1, 2, 4, 4), torch.ones(1, 2, 4, 4))
    m.values = torch.tensor([1., 3.])
    assert m.compute() == 2 and m.std() == pytest.approx(2**.5)


MEMBERS = dict(
    sam=running_indices.SAM,
    cut=lambda: running_indices.SAM(border=5),
    ergas=running_indices.ERGAS,
    ergas2=lambda: running_indices.ERGAS(ratio=2),
    q2n=lambda: running_indices.Q2n(scale=2047),
    small=lambda: running_indices.Q2n(block=16, scale=2047),
    scc=running_indices.SCC,
    uiqi=running_indices.UIQI,
    uiqi16=lambda: running_indices.UIQI(block=16),
)


@pytest.mark.parametrize("pair", list(permutations(MEMBERS, 2)), ids="-".join)
def test_a_collection_never_merges_metrics(pair):
    """After a first perfect image the states of many are equal; torchmetrics would let one stand for the other."""
    g = torch.from_numpy(scene()[0])[None]/2047
    f = (g + .02*torch.randn(g.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    together, alone = MetricCollection({k: MEMBERS[k]() for k in pair}), {k: MEMBERS[k]() for k in pair}
    for x in (g, f, f):
        together.update(x, g)
        for m in alone.values(): m.update(x, g)
    assert together.compute() == {k: m.compute() for k, m in alone.items()}
    for k in pair: assert alone[k].values[0] != alone[k].values[1]


def test_hqnr_class():
    scenes = [scene(seed=s) for s in range(4)]
    images = [torch.from_numpy(np.stack([np.asarray(v, float) for v in kind])).float()/2047 for kind in zip(*scenes)]
    m = running_indices.HQNR("QB", scale=2047)
    for part in (slice(0, 1), slice(1, 4)): m.update(*(v[part] for v in images))
    each = metrics.hqnr(*(v.double()*2047 for v in images), "QB")
    for name, v in zip(("D_lambda_K", "D_s", "HQNR"), each):
        np.testing.assert_allclose([m.compute()[name], m.std()[name]], [v.mean(), v.std()], rtol=1e-12)
    with pytest.raises(ValueError, match="fused: needs a batch"): m.update(*(v[0] for v in images))


def test_mean_std_of_whatever_holds_scores():
    table = dict(SAM=[1., 3., 8.], Q=[.5, .25, .75])
    arrays = {k: np.array(v) for k, v in table.items()}
    whole = metrics.mean_std(arrays)
    assert whole["SAM"] == (4., 13**.5) and whole["Q"] == (.5, .25)
    images = [{k: v[i] for k, v in table.items()} for i in range(3)]
    ragged = [{k: torch.tensor(v[:1]) for k, v in table.items()}, {k: np.array(v[1:]) for k, v in table.items()}]
    tracked = {k: torch.tensor(v, requires_grad=True) for k, v in table.items()}
    for same in (images, [arrays], ragged, tracked): assert metrics.mean_std(same) == whole
    unlike = [dict(SAM=1.), dict(SAM=1., Q=1.)]
    with pytest.raises(ValueError, match="the same indices for every image"): metrics.mean_std(unlike)
    for empty in ([], {}, [{}], dict(SAM=[])):
        with pytest.raises(ValueError, match="at least one image"): metrics.mean_std(empty)
