"""Every index, filter and method against what the MATLAB toolbox itself gave (tests/fixtures/toolbox)."""
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ssdiff import classical, metrics, resampling
from ssdiff.sensors import SENSORS

HERE = Path(__file__).parent/"fixtures"/"toolbox"
UNITS, KERNELS, QB, WV3 = (dict(np.load(HERE/f"{n}.npz")) for n in ("units", "kernels", "QB_reduced", "WV3_full"))
FIGURES = json.loads((HERE/"figures.json").read_text())
INDEX, IMAGE = 1e-12, 1e-12  # absolute on indices; on images relative, but absolute below 1
METHODS = {"exp": "EXP", "bth": "BT-H", "bdsd_pc": "BDSD-PC", "mtf_glp_fs": "MTF-GLP-FS"}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small arrays: threads only wait for each other, most of all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def same_image(ours, theirs, tolerance=IMAGE):
    assert ours.shape == theirs.shape
    assert (abs(ours-theirs)/np.maximum(abs(theirs), 1)).max() <= tolerance


def same(ours, theirs, tolerance=INDEX): np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)


@pytest.mark.parametrize("key", [k for k in KERNELS if "_" in k])
def test_kernels_of_every_sensor(key):
    kind, name = key.split("_")
    gains = SENSORS[name].mtf_ms if kind == "ms" else [SENSORS[name].mtf_pan]
    stored = KERNELS[key] if kind == "ms" else KERNELS[key][None]
    for g, k in zip(gains[-len(stored):], stored): same(resampling.mtf_kernel(g)[20:, 20:], k, 1e-15)


def test_other_kernels():
    same(resampling.gauss_kernel()[20:, 20:], KERNELS["gauss"], 1e-15)
    same(resampling.mtf_kernel(SENSORS["WV3"].mtf_ms[0], ratio=2)[20:, 20:], KERNELS["ratio2"][0], 1e-15)


def test_filters():
    x, crop = UNITS["in_x_filt"].astype(float), lambda v: v[:, :20, -20:]
    same_image(crop(resampling.mtf_blur(x, "WV3")), UNITS["out_mtf_wv3"])
    same_image(crop(resampling.mtf_blur(x[:4], "QB")), UNITS["out_mtf_qb"])
    same_image(crop(resampling.pan_mtf_blur(x[:1], "WV3")), UNITS["out_mtfpan_wv3"])
    same_image(crop(resampling.gauss_blur(x[:1])), UNITS["out_gauss"])


def test_resampling():
    up = UNITS["in_x_interp"]
    for r in (2, 4): same_image(resampling.upsample23(up.astype(float), r)[:, :20, -20:], UNITS[f"out_interp_r{r}"])
    for k in ("x_res", "x_res2"):
        x, out = UNITS["in_"+k].astype(float), k[2:]
        same_image(resampling.decimate(x), UNITS[f"out_{out}_near"])
        same_image(resampling.bicubic_reduce(x), UNITS[f"out_{out}_bic"])


def test_wald():
    ms_lr, pan_lr = resampling.wald(WV3["ms"], WV3["pan"], "WV3")
    same_image(ms_lr[:, :16, :16], WV3["ms_wald"])
    same_image(pan_lr[:, :16, :16], WV3["pan_wald"])
    same_image(resampling.upsample23(pan_lr)[:, :16, :16], WV3["pan_coarse"])


@pytest.mark.parametrize("key", ["c1", "c2", "c3", "c4", "c5", "c8", "c16", "flat", "zero", "c4_s16"])
def test_q2n(key):
    name, shift = key.split("_")[0], 16 if key.endswith("s16") else None
    a, b = UNITS[f"in_q_{name}_a"], UNITS[f"in_q_{name}_b"]
    same(metrics.q2n(a, b, shift=shift), UNITS[f"out_q2n_{key}"])
    same(metrics.q2n_map(a, b, shift=shift), UNITS[f"out_q2nmap_{key}"])


def test_sam_ergas_scc_q():
    a, b = UNITS["in_m_a"], UNITS["in_m_b"]
    same(metrics.sam(a, b), UNITS["out_sam"])
    same(metrics.ergas(a, b), UNITS["out_ergas"])
    same(metrics.ergas(b, a), UNITS["out_ergas_swapped"])
    same(metrics.scc(a, b), UNITS["out_scc"])
    same(metrics.uiqi(a, b), UNITS["out_q"])
    a, b = UNITS["in_uiqi_a"], UNITS["in_uiqi_b"]
    same(metrics.uiqi(a, b), UNITS["out_uiqi"])
    for k in (0, 1): same(metrics.uiqi_map(a[k:k+1], b[k:k+1]), UNITS[f"out_uiqi_map{k}"])


def test_full_resolution_unit():
    ms, fused, pan = UNITS["in_fs_ms"], UNITS["in_fs_fused"], UNITS["in_fs_pan"]
    r = metrics.full(fused, ms, resampling.upsample23(ms), pan, SENSORS["QB"].first(3))
    for ours, theirs in dict(D_lambda_K="dlk", D_s="ds", HQNR="hqnr", D_lambda="dl", QNR="qnr").items(): same(r[ours], UNITS["out_fs_"+theirs])


def test_percentile():
    x = torch.from_numpy(UNITS["in_x_pct"]).double()
    same([classical._percentile(x, p).item() for p in (1, 50, 100)], UNITS["out_pct"])


@pytest.fixture(scope="module")
def pair():
    ms, _ = resampling.wald(QB["gt"], np.zeros((1, *(4*n for n in QB["gt"].shape[1:]))), "QB")
    same_image(ms[:, :16, :16], QB["ms"])
    return ms, QB["pan"]


@pytest.mark.parametrize("key", METHODS)
def test_reduced_resolution(pair, key):
    fused = classical.METHODS[METHODS[key]](*pair, "QB")
    same_image(fused[:, :16, -16:], QB["lms" if key == "exp" else key])
    for setting, figures in FIGURES["QB_reduced"][key].items():
        r = metrics.reduced(QB["gt"].astype(float), fused, border=21 if setting.startswith("cut21") else None,
                            clip_bits=11 if setting.endswith("clipped_to_0_2048") else None)
        for ours, theirs in dict(Q2n="Q2n", Q="Q", SAM="SAM_deg", ERGAS="ERGAS", SCC="SCC").items(): same(r[ours], figures[theirs])


@pytest.mark.parametrize("key", [*METHODS, "glpfs_rounded"])
def test_full_resolution(key):
    ms, pan = WV3["ms"].astype(float), WV3["pan"].astype(float)
    rounded = key == "glpfs_rounded"
    fused = classical.METHODS[METHODS["mtf_glp_fs" if rounded else key]](ms, pan, "WV3")
    if rounded: fused = np.rint(fused)
    else:
        name = "lms" if key == "exp" else key
        same_image(fused[:, 224:240, :16], WV3[name])
        same_image(fused.mean((1, 2)), WV3[name+"_mean"]); same_image(fused.std((1, 2)), WV3[name+"_std"])
    if key == "mtf_glp_fs": same_image(resampling.mtf_blur(fused, "WV3")[:, :16, :16], WV3["glp_filtered"])
    for setting, figures in FIGURES["WV3_full"][key].items():
        r = metrics.full(fused, ms, resampling.upsample23(ms), pan, "WV3", clip_bits=11 if setting == "clipped_to_0_2048" else None)
        names = dict(D_lambda_K="D_lambda_K", D_s="D_s", HQNR="HQNR", D_lambda="D_lambda_classic", QNR="QNR")
        for ours, theirs in names.items(): same(r[ours], figures[theirs])


def test_figures_notice_the_common_mistakes():
    """The comparison has teeth: what other implementations do differently is far outside the tolerance."""
    a, b = UNITS["in_q_c8_a"].astype(float), UNITS["in_q_c8_b"].astype(float)
    for wrong in ((a, np.rint(b)), (b, a), (a, np.floor(b))):
        assert abs(metrics.q2n(*wrong) - UNITS["out_q2n_c8"]) > 100*INDEX
    unit_sum = resampling.mtf_kernel(.3)/resampling.mtf_kernel(.3).sum()
    assert abs(unit_sum - resampling.mtf_kernel(.3)).max() > 1e-6
    sharper = replace(SENSORS["QB"], mtf_ms=(.3,)*4)
    x = UNITS["in_x_filt"].astype(float)[:4]
    with pytest.raises(AssertionError): same_image(resampling.mtf_blur(x, sharper)[:, :20, -20:], UNITS["out_mtf_qb"])
