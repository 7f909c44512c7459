"""The runs of test_training.py that need processes of their own.

`python training_runs.py NAME FOLDER` does one, alone or under `accelerate launch`.
"""
import os, random, signal, sys, time
from functools import partial
from pathlib import Path
import torch
from safetensors.torch import save_file
from ssdiff.diffusion import Diffusion
from ssdiff.inputs import toy_batch
from ssdiff.lbaf import phase, phase_at
from ssdiff.network import SSDiff
from ssdiff.iteration import DivergedError
from ssdiff.training import Trainer
from ssdiff.batches import deterministic
from ssdiff.checkpoints import load_checkpoint


class Items(torch.utils.data.Dataset):
    "24 made-up patches"
    def __init__(self, kind=torch.float32, size=16):
        self.x = {k: v.to(kind) for k, v in toy_batch(24, 4, size).items()}
    def __len__(self): return 24
    def __getitem__(self, i): return {k: v[i] for k, v in self.x.items()}


def trainer(kind=torch.float32, **kw):
    "SSDiff as the study trains it, but small"
    deterministic(0, threads=1)
    d = Diffusion(scale=0.05)
    def norm(net, n): return sum(p.norm(n).item() for p in net.parameters())
    def validate(net): return dict(SAM=norm(net, 1), ERGAS=norm(net, 2))    # some numbers, in the order of the study's
    defaults = dict(iterations=12, batch=4, patch=12, lr=1e-3, weight_decay=0.1,
                    validate_every=3, checkpoint_every=1, validate=validate)
    net, draw = SSDiff(4, window=12).to(kind), partial(d.draw, t_final=0.5)
    return Trainer(net, d.loss, Items(kind), draw, **{**defaults, **kw})


def outcome(t, mean):
    "All that a run leaves: weights, averages, moments, learning curve, and the network it returned"
    curve = torch.tensor([[r["iteration"], r["loss"], r["lr"]] for r in t.history], dtype=torch.float64)
    return {**t._state(), **{f"fit:{k}": v.clone() for k, v in mean.state_dict().items()}, "curve": curve}


def alternating(net, i): return phase(net, phase_at(i, "alternating", 2))


def shared(folder):
    """Train on however many processes there are, stopped and resumed, with turns and without.

    Then once more, with a NaN that only the last process sees.
    """
    for name, turn in dict(plain=None, alternating=alternating).items():
        t = trainer(torch.float64, turn=turn, iterations=4, checkpoint=folder/f"{name}.safetensors")
        t.fit(stop=2, progress=False)
        made = outcome(t, t.fit(progress=False))
        if t.main: save_file({k: v.contiguous() for k, v in made.items()}, folder/f"{name}.made")
    t = trainer()
    loss = t.loss
    t.loss = lambda net, batch: loss(net, batch) * (float("nan") if t.accelerator.is_last_process else 1)
    try: t.fit(progress=False)
    except DivergedError as e: (folder/f"diverged{t.accelerator.process_index}").write_text(str(e))


LONG = 24     # iterations, more than four short lives can do


def run_and_kill(file, delay):
    """Train in a process of its own and kill it `delay` seconds after it has saved something.

    Returns the iteration that can be resumed from.
    """
    before, pid = file.stat().st_mtime_ns if file.exists() else None, os.fork()
    if not pid:
        trainer(iterations=LONG, checkpoint=file).fit(progress=False)
        os._exit(0)
    while not file.exists() or file.stat().st_mtime_ns == before:
        if os.waitpid(pid, os.WNOHANG)[0]: raise RuntimeError("training ended before it saved anything")
        time.sleep(0.002)
    time.sleep(delay)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return load_checkpoint(file)[1]["iteration"]


def killed(folder):
    "Train, killed at random moments, then to the end; and once undisturbed"
    rng = random.Random(os.getpid())
    # forked before this process has trained: PyTorch wants it so
    reached = [run_and_kill(folder/"killed.safetensors", rng.uniform(0, 0.08)) for _ in range(4)]
    (folder/"reached").write_text(" ".join(map(str, reached)))
    for name in ("killed", "whole"):
        places = dict(checkpoint=folder/f"{name}.safetensors", log=folder/f"{name}.tsv")
        t = trainer(iterations=LONG, checkpoint_every=LONG, **places)
        made = outcome(t, t.fit(progress=False))
        save_file({k: v.contiguous() for k, v in made.items()}, folder/f"{name}.made")


if __name__ == "__main__": globals()[sys.argv[1]](Path(sys.argv[2]))
