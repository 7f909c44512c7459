"""The runs of test_training.py that need processes of their own: `python training_runs.py NAME FOLDER` does one, alone or under `accelerate launch`."""
import os, random, signal, sys, time
from functools import partial
from pathlib import Path
import torch
from safetensors.torch import save_file
from ssdiff.diffusion import Diffusion, toy_batch
from ssdiff.lbaf import phase, phase_at
from ssdiff.network import SSDiff
from ssdiff.training import DivergedError, Trainer, deterministic


class Items(torch.utils.data.Dataset):
    "24 made-up patches"
    def __init__(self, kind=torch.float32, size=16): self.x = {k: v.to(kind) for k, v in toy_batch(24, 4, size).items()}
    def __len__(self): return 24
    def __getitem__(self, i): return {k: v[i] for k, v in self.x.items()}


def trainer(kind=torch.float32, **kw):
    "SSDiff as the study trains it, but small"
    deterministic(0, threads=1)
    d = Diffusion(scale=0.05)
    defaults = dict(iterations=12, batch=4, patch=12, lr=1e-3, weight_decay=0.1, validate_every=3, checkpoint_every=1)
    return Trainer(SSDiff(4, window=12).to(kind), d.loss, Items(kind), partial(d.draw, t_final=0.5), **{**defaults, **kw})


def outcome(t, mean):
    "All that a run leaves: weights, averages, moments, learning curve, and the network it returned"
    curve = torch.tensor([[r["iteration"], r["loss"], r["lr"]] for r in t.history], dtype=torch.float64)
    return {**t._state(), **{f"fit:{k}": v.clone() for k, v in mean.state_dict().items()}, "curve": curve}


def alternating(net, i): return phase(net, phase_at(i, "alternating", 2))


def shared(folder):
    "Train on however many processes there are: stopped and resumed, with turns and without, and with a NaN that only the last process sees"
    for name, turn in dict(plain=None, alternating=alternating).items():
        t = trainer(torch.float64, turn=turn, iterations=6, checkpoint=folder/f"{name}.safetensors")
        t.fit(stop=3, progress=False)
        made = outcome(t, t.fit(progress=False))
        if t.main: save_file({k: v.contiguous() for k, v in made.items()}, folder/f"{name}.made")
    t = trainer(); loss = t.loss
    t.loss = lambda net, batch: loss(net, batch) * (float("nan") if t.accelerator.is_last_process else 1)
    try: t.fit(progress=False)
    except DivergedError as e: (folder/f"diverged{t.accelerator.process_index}").write_text(str(e))


def run_and_kill(folder, delay):
    "Train in a process of its own, kill it `delay` seconds after its first checkpoint; the iteration that the checkpoint is of"
    file, pid = folder/"killed.safetensors", os.fork()
    if not pid:
        trainer(checkpoint=file).fit(progress=False)
        os._exit(0)
    before = file.stat().st_mtime_ns if file.exists() else None
    while not os.waitpid(pid, os.WNOHANG)[0]:
        if file.exists() and file.stat().st_mtime_ns != before:
            time.sleep(delay)
            os.kill(pid, signal.SIGKILL); os.waitpid(pid, 0)
            return
        time.sleep(0.002)


def killed(folder):
    "Train, killed at random moments; then to the end. And once undisturbed"
    rng = random.Random(os.getpid())
    for _ in range(4): run_and_kill(folder, rng.uniform(0, 0.15))       # forked before this process has trained: PyTorch wants it so
    for name in ("killed", "whole"):
        t = trainer(checkpoint=folder/f"{name}.safetensors", log=folder/f"log_{name}")
        mean = t.fit(progress=False)
        save_file({k: v.contiguous() for k, v in outcome(t, mean).items()}, folder/f"{name}.made")


if __name__ == "__main__": globals()[sys.argv[1]](Path(sys.argv[2]))
