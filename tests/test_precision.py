"SSDiff in bfloat16: as good as in single precision, really in bfloat16, and nothing where a processor has no units."
import pandas as pd
import pytest
import torch
import ssdiff
from ssdiff import methods
from ssdiff.attention import fast_bfloat16
from ssdiff.data import reduced_scene
from ssdiff.metrics import reduced
from ssdiff.network import toy_network

PAIR = reduced_scene(3, "WV3", 64)

def sharpen(pair=PAIR, **how):
    return ssdiff.sharpen(pair["pan"], pair["ms"], sensor="WV3", adapt=0, **how)

@pytest.mark.skipif(not fast_bfloat16(), reason="bfloat16 is emulated here, in minutes")
def test_the_indices_stay():
    "Their means over three scenes; a single one may move a little more."
    pairs = [reduced_scene(seed, "WV3", 128) for seed in (7, 8, 9)]
    def scores(precision):
        images = (sharpen(pair, precision=precision).astype(float) for pair in pairs)
        return pd.DataFrame([reduced(pair["gt"].astype(float), x) for pair, x in zip(pairs, images)]).mean()
    long, short = scores("float32"), scores("bfloat16")
    for index in ("SAM", "ERGAS"): assert short[index] == pytest.approx(long[index], rel=.002)

def conv_types(**how):
    "The types of numbers that leave convolutions."
    seen, watch = set(), torch.nn.modules.module.register_module_forward_hook
    hook = watch(lambda layer, x, y: seen.add(y.dtype) if isinstance(layer, torch.nn.Conv2d) else None)
    try: sharpen(weights=toy_network(8), **how)
    finally: hook.remove()
    return seen

def test_one_step_is_in_bfloat16_where_that_is_fast(monkeypatch):
    monkeypatch.setattr(methods, "fast_bfloat16", lambda: True)
    assert conv_types() == {torch.bfloat16, torch.float32} # what reads and makes images is not
    for other in (dict(steps=2), dict(precision="float32")): assert conv_types(**other) == {torch.float32}

def test_nothing_changes_elsewhere(monkeypatch):
    monkeypatch.setattr(methods, "fast_bfloat16", lambda: False)
    assert conv_types() == {torch.float32}
    image = sharpen(weights=toy_network(8))
    assert (image == sharpen(weights=toy_network(8), precision="float32")).all()
    assert (image != sharpen(weights=toy_network(8), precision="bfloat16")).any()

@pytest.mark.parametrize("how", [dict(method="EXP"), dict(method="SSDiff", weights=toy_network(8))])
def test_a_wrong_precision_is_one_line(how):
    with pytest.raises(ValueError, match="choose float32 or bfloat16"): sharpen(**how, precision="half")
    if how["method"] == "EXP":
        with pytest.raises(ValueError, match="EXP has one precision only"): sharpen(**how, precision="bfloat16")
