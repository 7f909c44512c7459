"""Time and memory of SSDiff against the formulas written out, and of sharpening a 256x256 image.

    python tests/bench_network.py                 # everything, on 2 threads: about 3 minutes, 10 GB
    python tests/bench_network.py --batch 4       # smaller, for a laptop

Each row runs in a process of its own, so that its peak memory is its own; the peak counts from just before the
first pass, with the packages and the images already there. Both versions run in one call, turn by turn.
"""
import argparse
import json
import resource
import subprocess
import sys
import time

import torch

import ssdiff.apfm
import ssdiff.fmim
from ssdiff.diffusion import Diffusion
from ssdiff.network import SSDiff


def written_out():
    "Put the printed formulas in the place of the fast ones"
    ssdiff.apfm.alternate = lambda ta, tb, tc, td, phase=None: ssdiff.apfm.alternate_written(ta, tb, tc, td)
    ssdiff.fmim.filter_low = ssdiff.fmim.filter_written


def images(n, size, bands=8, seed=0):
    "Made-up images; values do not matter here"
    g = torch.Generator().manual_seed(seed)
    draw = lambda c, s: torch.rand(n, c, s, s, generator=g)
    return dict(gt=draw(bands, size), lms=draw(bands, size), ms=draw(bands, size // 4), pan=draw(1, size))


def forward(batch):
    net, b = SSDiff(), images(batch, 64)
    def run():
        with torch.no_grad(): net(b["lms"], 500, b["pan"], b["lms"], b["ms"])
    return run


def training(batch):
    net, b, d = SSDiff(), images(batch, 64), Diffusion()
    opt = torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=0)
    def run():
        opt.zero_grad(); d.loss(net, b).backward(); opt.step()
    return run


def sharpen(batch):
    net, b = SSDiff().eval(), images(1, 256)
    return lambda: Diffusion().sample(net, b["pan"], b["lms"], b["ms"], steps=10, progress=False)


def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # MiB on Linux


def child(task, version, batch, repeats):
    "Run one row; print seconds of every pass and the peak memory above the start"
    torch.manual_seed(0)
    if version == "written": written_out()
    run, start, seconds = globals()[task](batch), peak(), []
    for _ in range(repeats):
        t = time.perf_counter(); run(); seconds.append(time.perf_counter() - t)
    print(json.dumps(dict(seconds=seconds, above=peak() - start, peak=peak())))


def measure(task, version, batch, repeats, threads):
    command = [sys.executable, __file__, "--child", task, version, "--batch", str(batch), "--repeats", str(repeats), "--threads", str(threads)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--batch", type=int, default=12)
    p.add_argument("--repeats", type=int, default=3)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--child", nargs=2)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    if a.child: return child(*a.child, a.batch, a.repeats)
    for task in ("forward", "training"):
        runs = {v: [measure(task, v, a.batch, a.repeats, a.threads) for _ in range(2)] for v in ("fast", "written")}
        best = {v: min(s for r in rs for s in r["seconds"]) / a.batch for v, rs in runs.items()}
        above = {v: min(r["above"] for r in rs) for v, rs in runs.items()}
        for v in runs: print(f"{task:9} {v:8} {1e3 * best[v]:8.1f} ms a patch {above[v]:8.0f} MiB")
        print(f"{task:9} ratio    {best['written'] / best['fast']:8.2f} times faster, {above['fast'] / above['written']:.3f} of the memory")
    r = measure("sharpen", "fast", 1, 1, a.threads)
    print(f"256x256x8, 10 DDIM steps: {r['seconds'][0]:.1f} s, peak {r['peak']:.0f} MiB in all, {r['above']:.0f} MiB above the start")


if __name__ == "__main__": main()
