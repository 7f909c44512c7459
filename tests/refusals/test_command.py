"""What `sharpen` refuses before anything is written."""
import numpy as np
import pytest
from affine import Affine

from ssdiff.command import sharpen
from ssdiff.geotiff import write_tiff
from ssdiff.scenes import simulate
from ssdiff.sensors import SENSORS
from ssdiff.network import toy_network

pytestmark = pytest.mark.usefixtures("one_thread")
PAIR = simulate("QB", 3, 16)
PAN, MS = PAIR["pan"], PAIR["ms"]
GRID = Affine(.6, 0, 500_000, 0, -.6, 5_400_000)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    "The working folder, with a pair in it."
    monkeypatch.chdir(tmp_path)
    write_tiff("pan.tif", PAN, GRID)
    write_tiff("ms.tif", MS, GRID @ Affine.scale(4))
    return tmp_path


ADAPTED = dict(weights=toy_network(), steps=1, adapt=2)


@pytest.mark.parametrize("images, wishes, kind, words", [
    ((PAN, MS), dict(method="EXP", adapt=2), ValueError, "EXP takes no adapt"),
    ((PAN, MS), dict(ADAPTED, keep_weights="pan.tif"), ValueError, "ends with .safetensors"),
    ((PAN, MS[:3]), dict(sensor=SENSORS["QB"].first(3)), FileNotFoundError, "brings no weights of SSDiff for 3 bands"),
    ((PAN, MS, "a.tif"), {}, ValueError, "are for files"),
    (("pan.tif", MS), dict(method="EXP"), TypeError, "of one kind"),
    (("pan.tif", "ms.tif", "o.tif"), dict(method="EXP", full_scale=100), ValueError, "above the full scale 100"),
    (("pan.tif", "ms.tif", "o.tif"), dict(samples=3), ValueError, "needs a file for their standard deviation"),
    ((PAN, MS), dict(method="EXP", register="yes"), ValueError, "register is one of auto, off, array, band"),
    ((PAN, MS), dict(method="EXP", grid="utm"), ValueError, "grid is one of pan, ms"),
    ((PAN, MS), dict(method="EXP", consistent=-1), ValueError, "must not be negative"),
    ((PAN, MS), dict(method="EXP", consistent="very"), TypeError, "consistent is True or a damping"),
], ids=["adapt", "keep_weights", "bands", "out of arrays", "two kinds", "full scale", "samples",
        "register", "grid", "damping", "consistent"])
def test_wishes_that_cannot_be_met(folder, images, wishes, kind, words):
    with pytest.raises(kind) as e: sharpen(*images, **{"sensor": "QB", **wishes})
    assert words in str(e.value), str(e.value)
    assert sorted(f.name for f in folder.iterdir()) == ["ms.tif", "pan.tif"]


COUNTED = "steps", "seed", "samples", "window", "batch", "adapt"


@pytest.mark.parametrize("name", COUNTED)
def test_what_is_counted_is_a_whole_number(name):
    wrong = True, 1.5, float("nan"), float("inf"), "3", b"3", [3], {}, 2+0j, np.array([2, 3])
    for n in (*wrong, *([] if name in ("steps", "window", "adapt") else [None]), *([] if name == "seed" else [-1])):
        with pytest.raises(ValueError) as e: sharpen(PAN, MS, sensor="QB", **{name: n})
        assert f"{name} must be a whole number" in str(e.value), str(e.value)


def test_a_whole_number_is_one_in_any_type():
    given = dict(steps=1, seed=3, samples=2, window=32, batch=4, adapt=0)
    same = dict(steps=np.float32(1), seed=np.int8(3), samples=np.int64(2), window=32., batch=np.uint16(4), adapt=0.)
    wanted, got = (sharpen(PAN, MS, sensor="QB", weights=toy_network(), **how) for how in (given, same))
    for a, b in zip(wanted, got, strict=True): np.testing.assert_array_equal(a, b)
