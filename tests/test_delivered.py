"Pairs as delivered: the bytes do not depend on the processes, and the study's scenes know nothing of deliveries."
import hashlib
import numpy as np
from ssdiff.delivered import delivered_pair, write_delivered
from ssdiff.delivery import Delivery
from ssdiff.robust import FAMILIES, varied_scene

def test_the_bytes_of_a_file_do_not_depend_on_the_processes(tmp_path):
    files = [write_delivered(tmp_path/f"{n}.h5", "QB", [5, 6, 7], 16, workers=n, progress=False) for n in (1, 2)]
    one, two = (hashlib.sha256(f.read_bytes()).hexdigest() for f in files)
    assert one == two

def test_the_truth_knows_nothing_of_what_the_product_goes_through():
    "Offsets, restoration and noise are of the MS (and noise of PAN); gains, grain and colours are of the ground."
    rough = Delivery(restoration=(.5, .5), common=2., band=.5, relief=1.)
    plain, moved = (delivered_pair(3, "QB", 16, d) for d in (Delivery(), rough))
    assert np.array_equal(plain["gt"], moved["gt"]) and not np.array_equal(plain["ms"], moved["ms"])

def test_every_sensor_of_a_family_can_be_delivered():
    for sensor in (s for family in FAMILIES.values() for s in family):
        pair = delivered_pair(1, sensor, 8)
        assert np.isfinite(pair["gt"]).all() and pair["ms"].any()

def test_varied_scenes_are_what_they_were():
    "Without deliveries: the means of the scenes that the packaged weights were trained on."
    scene = varied_scene(3, FAMILIES[8], 32)
    assert {k: round(float(v.astype(float).mean()), 6) for k, v in scene.items()} == MEANS

MEANS = dict(gt=0.202767, ms=0.202897, lms=0.2029, pan=0.180746)
