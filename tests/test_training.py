"The training engine across processes, kills, phases, precisions and networks."
import os, subprocess, sys
from pathlib import Path
import pytest, torch
from safetensors.torch import load_file
from ssdiff import baselines
from ssdiff.baselines.core import course, make_optimizer
from ssdiff.lbaf import parameter_groups, phase_at
from ssdiff.training import Trainer
from ssdiff.batches import deterministic
from ssdiff.checkpoints import load_checkpoint
from training_runs import LONG, Items, alternating, outcome, shared, trainer

RUNS = Path(__file__).with_name("training_runs.py")
pytestmark = pytest.mark.usefixtures("one_thread")


def launch(*command):
    "Run a command on the CPU; what it said, if it failed"
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(RUNS.parents[1])}
    done = subprocess.run([sys.executable, *map(str, command)], env=env, capture_output=True, text=True, timeout=300)
    assert not done.returncode, done.stderr[-3000:]


def same(a, b, tolerance=0):
    assert a.keys() == b.keys()
    return [k for k in a if not (a[k].double() - b[k].double()).abs().max() <= tolerance]


def test_two_processes_train_as_one(tmp_path):
    """In double precision, where sums in another order differ by 1e-16 and four iterations make 1e-10 of it at most.

    In single precision Adam shows the sign of a gradient that is zero but for rounding, and takes a whole step for it.
    Without `--multi_gpu`, `accelerate launch` starts only one process on a machine without GPUs.
    """
    two, one = tmp_path/"two", tmp_path/"one"
    two.mkdir()
    one.mkdir()
    options = dict(num_processes=2, num_machines=1, main_process_port=0, mixed_precision="no", dynamo_backend="no")
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    launch("-m", "accelerate.commands.launch", "--multi_gpu", *words, RUNS, "shared", two)
    shared(one)
    for name in ("plain.made", "alternating.made"):
        a, b = load_file(two/name), load_file(one/name)
        assert not same(a, b, 1e-10)
        assert a["curve"][-1, 0] == 4
    said = [f.read_text() for f in sorted(two.glob("diverged*"))]
    assert len(said) == 2 and all("the loss is nan at iteration 0" in s for s in said)    # both stop, though one saw it


def test_killed_training_ends_as_if_it_had_not_been(tmp_path):
    launch(RUNS, "killed", tmp_path)
    reached = [int(i) for i in (tmp_path/"reached").read_text().split()]    # checkpoints of the killed runs
    assert reached == sorted(reached) and reached[0] > 0 and reached[0] < LONG
    assert not same(load_file(tmp_path/"killed.made"), load_file(tmp_path/"whole.made"))
    assert (tmp_path/"killed.tsv").read_bytes() == (tmp_path/"whole.tsv").read_bytes()
    (_, a), (_, b) = (load_checkpoint(tmp_path/f"{n}.safetensors") for n in ("killed", "whole"))
    assert a.pop("seconds") > 0 and b.pop("seconds") > 0 and a == b


def test_what_rests_does_not_move():
    "One AdamW for all, with weight decay, and with moments from the other phase: the other branch keeps every bit"
    t, seen = trainer(iterations=6), []
    class turn:
        def __init__(self, net, i): self.net, self.i, self.inner = net, i, alternating(net, i)
        def __enter__(self):
            self.before = {k: p.detach().clone() for k, p in self.net.named_parameters()}
            self.inner.__enter__()
        def __exit__(self, *e):
            self.inner.__exit__(*e)
            moved = {k for k, p in self.net.named_parameters() if not torch.equal(p, self.before[k])}
            mine = set(parameter_groups(self.net)[phase_at(self.i, "alternating", 2)])
            moments = sum("exp_avg" in s for s in t.optimizer.state.values())
            seen.append((moved <= mine, len(moved) / len(mine), moments))
    t.turn = turn
    t.fit(progress=False)
    assert len(seen) == 6 and all(stays for stays, *_ in seen)
    assert min(share for _, share, _ in seen[1:]) > 0.9
    both = [parameter_groups(t.net)[p] for p in ("spatial", "spectral")]
    assert seen[-1][2] == sum(map(len, both))                                             # moments of both are there


NAMES = ["PNN", "DiCNN", "MSDCNN", "FusionNet", "CTINN", "LAGConv", "MMNet", "DCFNet", "PanDiff"]

@pytest.mark.parametrize("name", NAMES)
def test_every_network_trains_and_resumes(name, tmp_path):
    "By its own recipe: optimizer, schedule, clipping, average"
    def make(**kw):
        deterministic(0, threads=1)
        net = baselines.create(name, 4, **(dict(width=8) if name == "PanDiff" else {}))
        r = net.recipe
        def loss(net, batch): return net.objective(batch)
        def optimizer(net): return make_optimizer(net, r)
        own = dict(schedule=course(r), make_optimizer=optimizer, clip=r.clip or 0, ema=r.ema or 0)
        short = dict(iterations=3, batch=2, patch=20, validate_every=2)
        return Trainer(net, loss, Items(size=24), net.draw, **short, **own, **kw)
    def ended(t): return outcome(t, t.fit(progress=False))
    whole = ended(make())
    make(checkpoint=tmp_path/"c.safetensors").fit(stop=1, progress=False)
    again = ended(make(checkpoint=tmp_path/"c.safetensors"))
    assert not same(again, whole) and any(k.startswith("optimizer:") for k in whole)


def test_half_precision_is_near():
    def losses(precision):
        t = trainer(mixed_precision=precision)
        t.fit(progress=False)
        return torch.tensor([r["loss"] for r in t.history])
    assert 0 < (losses("no") - losses("bf16")).abs().max() < 0.01
    with pytest.raises(ValueError, match="fp16.*needs a GPU"): trainer(mixed_precision="fp16").fit(progress=False)


def test_a_batch_that_cannot_be_shared(monkeypatch):
    monkeypatch.setattr("ssdiff.iteration.Accelerator.num_processes", 3)
    with pytest.raises(ValueError, match="batch = 4 cannot be shared equally by 3 processes"):
        trainer().fit(progress=False)
