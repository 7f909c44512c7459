"""The same windows on two processes: the same pixels, also when one of them dies."""
import os
import signal
import threading
import time

import numpy as np
import pytest
import rasterio
from affine import Affine

import ssdiff
from ssdiff.geotiff import write_tiff
from ssdiff.scenes import simulate
from ssdiff.network import toy_network

distributed = pytest.importorskip("dask.distributed")
pytestmark = pytest.mark.usefixtures("one_thread")
GRID = Affine(.5, 0, 300_000, 0, -.5, 5_000_000)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder, images = tmp_path_factory.mktemp("dask"), simulate("QB", 7, 48)
    pan = write_tiff(folder/"pan.tif", images["pan"], GRID)
    ms = write_tiff(folder/"ms.tif", images["ms"], GRID @ Affine.scale(4))
    return pan, ms, folder


@pytest.fixture(scope="module")
def cluster():
    two = dict(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None)
    with distributed.LocalCluster(**two) as c: yield c


def read(path):
    with rasterio.open(path) as d: return d.read()


@pytest.mark.parametrize(
    "how",
    [dict(method="BT-H"), dict(method="BDSD-PC"), dict(weights=toy_network(), steps=1)],
    ids=["BT-H", "BDSD-PC", "SSDiff"],
)
def test_identical_pixels(pair, cluster, how):
    pan, ms, folder = pair
    for name, scheduler in (("here.tif", None), ("there.tif", cluster.scheduler_address)):
        ssdiff.sharpen(pan, ms, folder/name, sensor="QB", window=64, scheduler=scheduler, overwrite=True, **how)
    assert np.array_equal(read(folder/"here.tif"), read(folder/"there.tif"))


def test_a_worker_that_dies_costs_only_its_windows(pair, cluster):
    pan, ms, folder = pair
    how = dict(sensor="QB", weights=toy_network(), steps=2, window=64, overwrite=True)
    ssdiff.sharpen(pan, ms, folder/"here.tif", **how)
    with distributed.Client(cluster.scheduler_address) as client: victim = list(client.run(os.getpid).values())[0]
    before = set(_pids(cluster))
    killer = threading.Thread(target=_kill_when_busy, args=(folder, victim))
    killer.start()
    ssdiff.sharpen(pan, ms, folder/"there.tif", scheduler=cluster.scheduler_address, **how)
    killer.join()
    assert victim in before and victim not in _pids(cluster)
    assert np.array_equal(read(folder/"here.tif"), read(folder/"there.tif"))


def _pids(cluster):
    with distributed.Client(cluster.scheduler_address) as client: return list(client.run(os.getpid).values())


def _kill_when_busy(folder, pid):
    "Kill a worker once windows are being sharpened."
    while not list(folder.glob(".there.tif.*.partial")): time.sleep(.05)
    time.sleep(.5)
    os.kill(pid, signal.SIGKILL)


def test_no_scheduler(pair):
    pan, ms, folder = pair
    nobody = "tcp://127.0.0.1:1"
    with pytest.raises(OSError, match=f"no Dask scheduler answers at {nobody}"):
        ssdiff.sharpen(pan, ms, folder/"no.tif", sensor="QB", method="EXP", scheduler=nobody)
    assert not (folder/"no.tif").exists()
