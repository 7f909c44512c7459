"""The packaged weights load, are small, say what they are, and hold on simulated scenes of cameras new to them."""
from importlib.resources import files
import numpy as np
import pytest
from ssdiff.classical import METHODS
from ssdiff.data import reduced_scene
from ssdiff.reduced_indices import ergas, sam
from ssdiff.methods import network_method
from ssdiff.network import load

SEEDS = {"WV3": (41, 42, 43), "GF2": (44, 45, 46)}

@pytest.fixture(params=SEEDS)
def sensor(request): return request.param

@pytest.fixture
def net(sensor): return load(files("ssdiff")/"weights"/f"{8 if sensor == 'WV3' else 4}bands.safetensors")

def test_they_say_what_they_are(net, sensor):
    path = files("ssdiff")/"weights"/f"{net.bands}bands.safetensors"
    assert path.stat().st_size < 3e6
    assert sensor in net.meta["sensor"] and "no real image" in net.meta["data"] and net.diffusion.normalise > 0

def test_they_hold_on_scenes_of_the_study(net, sensor):
    scenes = [reduced_scene(s, sensor, 128) for s in SEEDS[sensor]]
    cut = lambda x: x[..., 16:-16, 16:-16]

    def mean(index, fuse):
        pairs = [(x["gt"].astype(float), fuse(x["pan"], x["lms"], x["ms"])) for x in scenes]
        return np.mean([index(cut(gt), cut(fused)) for gt, fused in pairs])

    ours = network_method(net, sensor, steps=1)
    for name in ("EXP", "BT-H", "BDSD-PC", "MTF-GLP-FS"):
        other = lambda pan, lms, ms: METHODS[name](ms, pan, sensor)
        for index in (sam, ergas): assert mean(index, ours) < mean(index, other), (name, index.__name__)

def test_gains_of_bands_go_through(net, sensor):
    x = reduced_scene(SEEDS[sensor][0], sensor, 64)
    gain = np.linspace(.4, .9, net.bands)[:, None, None]
    ours = network_method(net, sensor, steps=1)
    changed = ours(x["pan"]*.5, x["lms"]*gain, x["ms"]*gain)
    np.testing.assert_allclose(changed, ours(x["pan"], x["lms"], x["ms"])*gain, rtol=1e-3, atol=.5)
