"""Time and memory of SSDiff against the formulas written out, and of sharpening a 256x256 image.

    python tests/bench_network.py                 # everything, on 2 threads: about 3 minutes, 10 GB
    python tests/bench_network.py --batch 4       # smaller, for a laptop

Each row runs in a process of its own, so that its peak memory is its own; the peak counts from just before the
first pass, with the packages and the images already there. Both versions run in one call, turn by turn. Beside the
wall clock stands the processor time over the threads, which a busy machine disturbs less.
"""
import argparse
import json
import os
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
    run, start, wall, cpu = globals()[task](batch), peak(), [], []
    for _ in range(repeats):
        w, c = time.perf_counter(), time.process_time()
        run()
        wall.append(time.perf_counter() - w); cpu.append((time.process_time() - c) / torch.get_num_threads())
    print(json.dumps(dict(wall=wall, cpu=cpu, above=peak() - start, peak=peak())))


def measure(task, version, batch, repeats, threads):
    command = [sys.executable, __file__, "--child", task, version, "--batch", str(batch), "--repeats", str(repeats), "--threads", str(threads)]
    env = {**os.environ, "OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}  # threads that wait burn no processor time
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout)


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
        turns = [(v, measure(task, v, a.batch, a.repeats, a.threads)) for _ in range(2) for v in ("fast", "written")]
        best = lambda v, what: min(min(r[what]) for u, r in turns if u == v) / a.batch
        above = {v: min(r["above"] for u, r in turns if u == v) for v in ("fast", "written")}
        for v in above: print(f"{task:9}{v:8} wall {1e3 * best(v, 'wall'):7.1f}, processor {1e3 * best(v, 'cpu'):7.1f} ms a patch, {above[v]:6.0f} MiB")
        print(f"{task:9}ratio    wall {best('written', 'wall') / best('fast', 'wall'):.2f}, processor {best('written', 'cpu') / best('fast', 'cpu'):.2f} times faster,"
              f" {above['fast'] / above['written']:.3f} of the memory", flush=True)
    r = measure("sharpen", "fast", 1, 1, a.threads)
    print(f"256x256x8, 10 DDIM steps: wall {r['wall'][0]:.1f}, processor {r['cpu'][0]:.1f} s, peak {r['peak']:.0f} MiB in all, {r['above']:.0f} MiB above the start")


if __name__ == "__main__": main()
