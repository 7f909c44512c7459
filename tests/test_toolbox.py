"""Every index, filter and method against what the MATLAB toolbox itself gave (tests/fixtures/toolbox).

python tests/test_toolbox.py runs the comparison and prints the largest difference of each.
"""
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ssdiff import classical, metrics, mtf, resampling
from ssdiff.sensors import SENSORS

HERE = Path(__file__).parent/"fixtures"/"toolbox"
UNITS, KERNELS, QB, WV3 = (dict(np.load(HERE/f"{n}.npz")) for n in ("units", "kernels", "QB_reduced", "WV3_full"))
FIGURES = json.loads((HERE/"figures.json").read_text())
INDEX, IMAGE = 1e-12, 1e-12  # absolute on indices; on images relative, but absolute below 1
METHODS = {"exp": "EXP", "bth": "BT-H", "bdsd_pc": "BDSD-PC", "mtf_glp_fs": "MTF-GLP-FS"}
LARGEST = {}  # what was compared -> largest difference so far
pytestmark = pytest.mark.usefixtures("one_thread")


def note(what, differences, tolerance):
    """Remember the largest difference (a NaN is one) and hold it against the tolerance."""
    worst = float(np.max(differences))
    LARGEST[what] = float(np.fmax(LARGEST.get(what, 0), worst))
    assert worst <= tolerance, f"{what} differs by {worst}"


def same_image(what, ours, theirs, tolerance=IMAGE):
    assert ours.shape == theirs.shape
    note(what, abs(ours-theirs)/np.maximum(abs(theirs), 1), tolerance)


def same(what, ours, theirs, tolerance=INDEX): note(what, abs(np.asarray(ours)-np.asarray(theirs)), tolerance)


@pytest.mark.parametrize("key", [k for k in KERNELS if "_" in k])
def test_kernels_of_every_sensor(key):
    kind, name = key.split("_")
    gains = SENSORS[name].mtf_ms if kind == "ms" else [SENSORS[name].mtf_pan]
    stored = KERNELS[key] if kind == "ms" else KERNELS[key][None]
    for g, k in zip(gains[-len(stored):], stored): same("kernels", mtf.mtf_kernel(g)[20:, 20:], k, 1e-15)


def test_other_kernels():
    same("kernels", mtf.gauss_kernel()[20:, 20:], KERNELS["gauss"], 1e-15)
    same("kernels", mtf.mtf_kernel(SENSORS["WV3"].mtf_ms[0], ratio=2)[20:, 20:], KERNELS["ratio2"][0], 1e-15)


def test_filters():
    x, crop = UNITS["in_x_filt"].astype(float), lambda v: v[:, :20, -20:]
    same_image("low-pass filters", crop(mtf.mtf_blur(x, "WV3")), UNITS["out_mtf_wv3"])
    same_image("low-pass filters", crop(mtf.mtf_blur(x[:4], "QB")), UNITS["out_mtf_qb"])
    same_image("low-pass filters", crop(mtf.pan_mtf_blur(x[:1], "WV3")), UNITS["out_mtfpan_wv3"])
    same_image("low-pass filters", crop(mtf.gauss_blur(x[:1])), UNITS["out_gauss"])


def test_resampling():
    up = UNITS["in_x_interp"]
    for r in (2, 4):
        ours = resampling.upsample23(up.astype(float), r)[:, :20, -20:]
        same_image("interpolation by 23 taps", ours, UNITS[f"out_interp_r{r}"])
    for k in ("x_res", "x_res2"):
        x, out = UNITS["in_"+k].astype(float), k[2:]
        same_image("decimation", resampling.decimate(x), UNITS[f"out_{out}_near"])
        same_image("bicubic reduction", resampling.bicubic_reduce(x), UNITS[f"out_{out}_bic"])


def test_wald():
    ms_lr, pan_lr = resampling.wald(WV3["ms"], WV3["pan"], "WV3")
    same_image("Wald's protocol", ms_lr[:, :16, :16], WV3["ms_wald"])
    same_image("Wald's protocol", pan_lr[:, :16, :16], WV3["pan_wald"])
    same_image("interpolation by 23 taps", resampling.upsample23(pan_lr)[:, :16, :16], WV3["pan_coarse"])


@pytest.mark.parametrize("key", ["c1", "c2", "c3", "c4", "c5", "c8", "c16", "flat", "zero", "c4_s16"])
def test_q2n(key):
    name, shift = key.split("_")[0], 16 if key.endswith("s16") else None
    a, b = UNITS[f"in_q_{name}_a"], UNITS[f"in_q_{name}_b"]
    what = "Q2n, flat blocks" if name in ("flat", "zero") else "Q2n"
    same(what, metrics.q2n(a, b, shift=shift), UNITS[f"out_q2n_{key}"])
    same(what, metrics.q2n_map(a, b, shift=shift), UNITS[f"out_q2nmap_{key}"])


def test_sam_ergas_scc_q():
    a, b = UNITS["in_m_a"], UNITS["in_m_b"]
    same("SAM", metrics.sam(a, b), UNITS["out_sam"])
    same("ERGAS", metrics.ergas(a, b), UNITS["out_ergas"])
    same("ERGAS", metrics.ergas(b, a), UNITS["out_ergas_swapped"])
    same("SCC", metrics.scc(a, b), UNITS["out_scc"])
    same("Q", metrics.uiqi(a, b), UNITS["out_q"])
    a, b = UNITS["in_uiqi_a"], UNITS["in_uiqi_b"]
    same("Q", metrics.uiqi(a, b), UNITS["out_uiqi"])
    for k in (0, 1): same("Q", metrics.uiqi_map(a[k:k+1], b[k:k+1]), UNITS[f"out_uiqi_map{k}"])


def test_full_resolution_unit():
    ms, fused, pan = UNITS["in_fs_ms"], UNITS["in_fs_fused"], UNITS["in_fs_pan"]
    images = fused, ms, resampling.upsample23(ms), pan
    with pytest.warns(UserWarning, match="image has 3 band.* but sensor QB has 4"): r = metrics.full(*images, "QB")
    assert r == metrics.full(*images, SENSORS["QB"].first(3))
    names = dict(D_lambda_K="dlk", D_s="ds", HQNR="hqnr", D_lambda="dl", QNR="qnr")
    for ours, theirs in names.items(): same(ours, r[ours], UNITS["out_fs_"+theirs])


def test_percentile():
    x = torch.from_numpy(UNITS["in_x_pct"]).double()
    same("percentile", [classical._percentile(x, p).item() for p in (1, 50, 100)], UNITS["out_pct"])


@pytest.fixture(scope="module")
def pair():
    ms, _ = resampling.wald(QB["gt"], np.zeros((1, *(4*n for n in QB["gt"].shape[1:]))), "QB")
    same_image("Wald's protocol", ms[:, :16, :16], QB["ms"])
    return ms, QB["pan"]


@pytest.mark.parametrize("key", METHODS)
def test_reduced_resolution(pair, key):
    fused = classical.METHODS[METHODS[key]](*pair, "QB")
    same_image(METHODS[key], fused[:, :16, -16:], QB["lms" if key == "exp" else key])
    names = dict(Q2n="Q2n", Q="Q", SAM="SAM_deg", ERGAS="ERGAS", SCC="SCC")
    for setting, figures in FIGURES["QB_reduced"][key].items():
        border = 21 if setting.startswith("cut21") else None
        clip_bits = 11 if setting.endswith("clipped_to_0_2048") else None
        r = metrics.reduced(QB["gt"].astype(float), fused, border=border, clip_bits=clip_bits)
        for ours, theirs in names.items(): same(ours, r[ours], figures[theirs])


@pytest.mark.parametrize("key", [*METHODS, "glpfs_rounded"])
def test_full_resolution(key):
    ms, pan = WV3["ms"].astype(float), WV3["pan"].astype(float)
    rounded = key == "glpfs_rounded"
    fused = classical.METHODS[METHODS["mtf_glp_fs" if rounded else key]](ms, pan, "WV3")
    if rounded: fused = np.rint(fused)
    else:
        name = "lms" if key == "exp" else key
        same_image(METHODS[key], fused[:, 224:240, :16], WV3[name])
        same_image(METHODS[key], fused.mean((1, 2)), WV3[name+"_mean"])
        same_image(METHODS[key], fused.std((1, 2)), WV3[name+"_std"])
    if key == "mtf_glp_fs":
        same_image("low-pass filters", mtf.mtf_blur(fused, "WV3")[:, :16, :16], WV3["glp_filtered"])
    names = dict(D_lambda_K="D_lambda_K", D_s="D_s", HQNR="HQNR", D_lambda="D_lambda_classic", QNR="QNR")
    for setting, figures in FIGURES["WV3_full"][key].items():
        clip_bits = 11 if setting == "clipped_to_0_2048" else None
        r = metrics.full(fused, ms, resampling.upsample23(ms), pan, "WV3", clip_bits=clip_bits)
        for ours, theirs in names.items(): same(ours, r[ours], figures[theirs])


def test_figures_notice_the_common_mistakes():
    """The comparison has teeth: what other implementations do differently is far outside the tolerance."""
    a, b = UNITS["in_q_c8_a"].astype(float), UNITS["in_q_c8_b"].astype(float)
    for wrong in ((a, np.rint(b)), (b, a), (a, np.floor(b))):
        assert abs(metrics.q2n(*wrong) - UNITS["out_q2n_c8"]) > 100*INDEX
    unit_sum = mtf.mtf_kernel(.3)/mtf.mtf_kernel(.3).sum()
    assert abs(unit_sum - mtf.mtf_kernel(.3)).max() > 1e-6
    sharper = replace(SENSORS["QB"], mtf_ms=(.3,)*4)
    x = UNITS["in_x_filt"].astype(float)[:4]
    assert abs(mtf.mtf_blur(x, sharper)[:, :20, -20:] - UNITS["out_mtf_qb"]).max() > 1
    with pytest.raises(AssertionError, match="control differs by"): same("control", [0., 1e-6], [0., 0.])
    with pytest.raises(AssertionError, match="control differs by nan"):
        same_image("control", np.array([np.nan]), np.array([1.]))
    del LARGEST["control"]


def main():
    """Run the comparison; then the table. Indices: absolute. Images: relative, absolute below 1."""
    status = pytest.main([__file__, "-q"])
    for what, worst in sorted(sys.modules["test_toolbox"].LARGEST.items()): print(f"{what:28s}{worst:.1e}")
    return status


if __name__ == "__main__": sys.exit(main())
