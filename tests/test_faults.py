"""Full disks, read-only folders, memory that runs out.

Each gives one message and leaves nothing half-written, and the same call works once the cause is gone.
"""
import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from affine import Affine

from ssdiff import writing
from ssdiff.command import main
from ssdiff.data import prepare
from ssdiff.evaluation import save_fused, save_json, save_scores
from ssdiff.files import write_weights
from ssdiff.geotiff import GeoScene, write_tiff
from ssdiff.methods import ClassicalMethod
from ssdiff.network import save, toy_network
from ssdiff.pancollection import write_file
from ssdiff.checkpoints import load_checkpoint, save_checkpoint
from training_runs import outcome, trainer

pytestmark = pytest.mark.usefixtures("one_thread")


@contextmanager
def full_disk(size):
    "No file may become larger than `size`: what is written beyond it fails as on a full disk."
    before, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try: yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


SHAPES = dict(ms=(8, 16, 16), lms=(8, 64, 64), pan=(1, 64, 64))
IMAGES = {k: np.random.default_rng(0).integers(20, 2000, (3, *s)).astype("u2") for k, s in SHAPES.items()}
WRITERS = {
    "images.h5": lambda p: write_file(p, IMAGES),
    "fused.h5": lambda p: save_fused(p, IMAGES["lms"].astype("f4")),
    "scores.csv": lambda p: save_scores(p, pd.DataFrame(dict(SAM=np.arange(900.)))),
    "record.json": lambda p: save_json(p, list(range(900))),
    "net.safetensors": lambda p: write_weights(torch.nn.Linear(90, 90), p, {}),
    "checkpoint.safetensors": lambda p: save_checkpoint(p, dict(x=torch.arange(9000.)), {}),
}

@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_leaves_the_old_file(tmp_path, name):
    "At any moment of writing: before the first byte, between any two, at the last."
    write, path = WRITERS[name], tmp_path/"deep"/name
    says = f"{name} could not be written .File too large.*then run the same command again"
    write(path)
    whole = path.read_bytes()
    for old in (None, b"the old file"):
        for size in sorted({0, 1, 100, *np.linspace(0, len(whole) - 1, 12).astype(int).tolist()}):
            path.unlink() if old is None and path.exists() else path.write_bytes(old or b"")
            if old is None: path.unlink(missing_ok=True)
            with full_disk(size), pytest.raises(OSError, match=says) as e: write(path)
            assert e.value.errno == errno.EFBIG
            assert [p.read_bytes() for p in path.parent.iterdir()] == ([old] if old else [])
    write(path)
    assert path.read_bytes()[:40] == whole[:40] and len(path.read_bytes()) == len(whole)

@pytest.mark.parametrize("name", WRITERS)
def test_a_folder_that_cannot_be_written_to(tmp_path, name):
    "A file where the folder should be: it stops even those who may write everywhere."
    (tmp_path/"deep").write_text("a file")
    with pytest.raises(OSError, match="deep"): WRITERS[name](tmp_path/"deep"/name)
    assert [p.name for p in tmp_path.iterdir()] == ["deep"]

def test_simulating_scenes_on_a_full_disk(tmp_path):
    few = dict(n_train_scenes=0, n_valid_scenes=1, n_test=1, n_full=0, size=64, patch=32, test_size=64)
    few |= dict(workers=1, progress=False)
    with full_disk(200_000), pytest.raises(OSError, match="valid_wv3.h5 could not be written"):
        prepare("WV3", tmp_path, **few)
    assert not list(tmp_path.iterdir())
    assert [p.name for p in prepare("WV3", tmp_path, **few).values()] == ["valid_wv3.h5", "test_wv3_multiExm1.h5"]

def test_training_on_a_full_disk_keeps_its_checkpoint(tmp_path):
    path = tmp_path/"c.safetensors"
    def ended(t): return outcome(t, t.fit(progress=False))
    whole = ended(trainer(iterations=4))
    trainer(iterations=4, checkpoint=path).fit(stop=2, progress=False)
    with full_disk(10_000), pytest.raises(OSError, match="c.safetensors could not be written"):
        trainer(iterations=4, checkpoint=path).fit(progress=False)
    assert load_checkpoint(path)[1]["iteration"] == 2 and os.listdir(tmp_path) == ["c.safetensors"]
    made = ended(trainer(iterations=4, checkpoint=path))
    assert all(torch.equal(v, made[k]) for k, v in whole.items())


GRID = Affine(.5, 0, 300_000, 0, -.5, 5_000_000)

@pytest.fixture
def scene(tmp_path, monkeypatch):
    "A folder with a pair of images and weights; call it to write the images again."
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    pan = rng.integers(1, 2000, (1, 768, 768)).astype("u2")
    ms = rng.integers(1, 2000, (4, 192, 192)).astype("u2")
    def write():
        write_tiff("pan.tif", pan, GRID)
        write_tiff("ms.tif", ms, GRID @ Affine.scale(4))
    write()
    save(toy_network(), "w.safetensors")
    Path("results").mkdir()
    return write

LINE = "pan.tif ms.tif results/out.tif --sensor QB --quiet"

def fails(capfd, words):
    said = capfd.readouterr().err
    assert len(said.splitlines()) == 1 and said.startswith("ssdiff-sharpen: ") and words in said, said
    assert not list(Path().rglob("*out.tif*"))

SHORT = """
import resource, sys
import torch
from ssdiff import catalogue, consistency, moving, sharpening, writing
from ssdiff.command import main
torch.set_num_threads(1)
now = int(open("/proc/self/statm").read().split()[0])*resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + 60_000_000,)*2)
sys.exit(main(sys.argv[1:]))
"""

SILENT = not Path("/proc/self/statm").exists()

@pytest.mark.skipif(SILENT, reason="the system does not say how much memory a process has")
def test_too_little_memory_for_a_window(scene, options="--weights w.safetensors --steps 1 --batch 64"):
    command = [sys.executable, "-c", SHORT, *LINE.split(), *options.split()]
    said = subprocess.run(command, capture_output=True, text=True)
    assert said.returncode == 2 and len(said.stderr.splitlines()) == 1, said.stderr
    assert "not enough memory for a window" in said.stderr and "--window" in said.stderr, said.stderr
    assert not list(Path("results").iterdir())

def test_memory_that_suffices_again(scene, capfd, monkeypatch):
    "PyTorch's own complaint about 4 EB, in the second window."
    part, calls = ClassicalMethod.part, []
    def greedy(*a):
        calls.append(1)
        torch.empty(2**60 if len(calls) == 2 else 1)
        return part(*a)
    monkeypatch.setattr(ClassicalMethod, "part", greedy)
    line = [*LINE.split(), "--method", "MTF-GLP-FS", "--window", "256"]
    assert main(line) == 2
    fails(capfd, "not enough memory for a window")
    assert main(line) == 0 and [p.name for p in Path("results").iterdir()] == ["out.tif"]

def test_a_disk_that_fills_up_while_windows_are_written(scene, capfd):
    line = [*LINE.split(), "--method", "EXP", "--window", "256"]
    with full_disk(1_000_000): assert main(line) == 2
    assert "writing failed" in capfd.readouterr().err.splitlines()[-1]   # before it, GDAL's own words
    assert not list(Path("results").iterdir())
    assert main(line) == 0 and [p.name for p in Path("results").iterdir()] == ["out.tif"]

def test_a_window_that_cannot_be_read(scene, capfd, monkeypatch):
    "The fifth of nine, while the one before is worked on."
    read, calls = GeoScene.read, []
    def torn(self, box):
        calls.append(box)
        if len(calls) == 6: os.truncate("pan.tif", 3000)    # the first of them is all that the check looks at
        return read(self, box)
    monkeypatch.setattr(GeoScene, "read", torn)
    line = [*LINE.split(), "--method", "EXP", "--window", "256"]
    assert main(line) == 2
    fails(capfd, "pan pan.tif cannot be read")
    scene()
    assert main(line) == 0 and [p.name for p in Path("results").iterdir()] == ["out.tif"]

LOSSES = {
    "pan": (lambda: os.truncate("pan.tif", 3000), None, "pan pan.tif cannot be read"),
    "ms": (lambda: os.truncate("ms.tif", 3000), None, "ms ms.tif cannot be read"),
    "folder": (lambda: shutil.rmtree("results"), lambda: Path("results").mkdir(), "out.tif"),
}

@pytest.mark.parametrize("lose, bring_back, words", LOSSES.values(), ids=LOSSES)
def test_what_vanishes_while_it_is_needed(scene, capfd, monkeypatch, lose, bring_back, words):
    "Inputs that shrink, a folder that is removed: one line, no result; when they are back, the same command works."
    write = writing._write
    line = [*LINE.split(), "--method", "MTF-GLP-FS", "--window", "256"]
    with monkeypatch.context() as m:
        m.setattr(writing, "_write", lambda *a: (lose(), write(*a)))
        assert main(line) == 2
    fails(capfd, words)
    (bring_back or scene)()
    assert main(line) == 0 and [p.name for p in Path("results").iterdir()] == ["out.tif"]
