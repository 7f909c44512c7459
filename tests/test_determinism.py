"""Two runs give the same bytes: with one worker process and two, in another time zone and another locale."""
import hashlib
import os
import subprocess
import sys
from pathlib import Path

# Images, weights, learning curves and scores are compared.
# `python tests/kill_stages.py --kills 0 --elsewhere` asks the same of the whole pipeline.
RUN = """
import sys
from pathlib import Path
import torch
from ssdiff import baselines
from ssdiff.diffusion import Diffusion
from ssdiff.evaluation import fuse_all, save_fused, save_json, save_scores, score_all
from ssdiff.catalogue import get_method
from ssdiff.methods import network_method
from ssdiff.network import SSDiff, load
from ssdiff.study import images, keep, prepare_dataset, trainer, weights_file
from ssdiff.batches import deterministic

if __name__ == "__main__":
    results = Path("results")
    counts = dict(n_train_scenes=2, n_valid_scenes=1, n_test=1, n_full=0, size=64, test_size=96)
    prepare_dataset(results, "QB", seed=1, **counts, workers=int(sys.argv[1]), progress=False)
    deterministic(1, 1)
    d, net = Diffusion(scale=.05), SSDiff(4, window=16)
    net.meta = dict(scale=.05)
    short = dict(iterations=2, batch=2, patch=16, validate_every=1, checkpoint_every=1)
    fit = trainer(results, "QB", "V5", net, d.loss, d.draw, {}, **short)
    keep(results, "QB", "V5", fit.fit(progress=False), fit, scale=.05)
    test = images(results, "QB", "test")
    methods = {
        "MTF-GLP-FS": get_method("MTF-GLP-FS", "QB"),
        "V5": network_method(load(weights_file(results, "QB", "V5")), "QB", steps=1, seed=1),
    }
    fused = {k: fuse_all(f, test, "QB", progress=False) for k, f in methods.items()}
    scores = {k: score_all(v, test, "QB") for k, v in fused.items()}
    for k, v in scores.items():
        save_scores(results/f"scores/{k}.csv", v)
        save_fused(results/f"fused/{k}.h5", fused[k])
    save_json(results/"metrics.json", {k: v.mean().to_dict() for k, v in scores.items()})
"""
HERE = dict(TZ="UTC", LC_ALL="C.UTF-8", PYTHONHASHSEED="1")
ELSEWHERE = dict(TZ="Asia/Kathmandu", LC_ALL="C", PYTHONHASHSEED="2", COLUMNS="40",
                 PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")       # the default encoding is ASCII


def made(folder, workers, surroundings):
    "Digest of every file that a small study leaves; checkpoints and costs tell seconds and stay out."
    folder.mkdir()
    (folder/"run.py").write_text(RUN, encoding="utf-8")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("LC_")}
    env = {**inherited, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1]), **surroundings}
    done = subprocess.run([sys.executable, "run.py", str(workers)], cwd=folder, env=env, capture_output=True, text=True)
    assert not done.returncode, done.stderr[-2000:]
    files = (p for p in folder.rglob("*") if p.is_file() and not {"costs", "checkpoints"} & set(p.parts))
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_a_small_study_gives_the_same_bytes_anywhere(tmp_path):
    one, two = made(tmp_path/"one", 1, HERE), made(tmp_path/"two", 2, ELSEWHERE)
    assert one == two
    expected = ("datasets/QB/train_qb.h5", "weights/QB/V5.safetensors", "scores/V5.csv", "metrics.json",
                "training/QB/V5.tsv")
    assert {f"results/{name}" for name in expected} <= set(one)
