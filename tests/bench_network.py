"""Time and memory of SSDiff against the formulas written out, and of sharpening images of several sizes.

    python tests/bench_network.py                 # everything, on 2 threads: about 4 minutes, 10 GB
    python tests/bench_network.py --batch 4       # smaller, for a laptop

Three versions: the formulas "written" out, attention by "pytorch" (SSDIFF_KERNEL=0), and "fast", what runs by default.
Each row runs in a process of its own, so that its peak memory is its own; the peak counts from just before the
first pass, with the packages and the images already there. The versions run in one call, turn by turn. Beside the
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


def forward(batch, size):
    net, b = SSDiff(), images(batch, size)
    def run():
        with torch.no_grad(): net(b["lms"], 500, b["pan"], b["lms"], b["ms"])
    return run


def training(batch, size):
    net, b, d = SSDiff(), images(batch, size), Diffusion()
    opt = torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=0)
    def run():
        opt.zero_grad(); d.loss(net, b).backward(); opt.step()
    return run


def sharpen(window, size, steps=1):
    net, b = SSDiff(window=window).eval(), images(1, size)
    return lambda: Diffusion().sample(net, b["pan"], b["lms"], b["ms"], steps=steps, progress=False)


def sharpen10(window, size): return sharpen(window, size, 10)


def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # MiB on Linux


def child(task, version, batch, size, repeats):
    "Run one row; print seconds of every pass and the peak memory above the start"
    torch.manual_seed(0)
    if version == "written": written_out()
    run, start, wall, cpu = globals()[task](batch, size), peak(), [], []
    for _ in range(repeats):
        w, c = time.perf_counter(), time.process_time()
        run()
        wall.append(time.perf_counter() - w); cpu.append((time.process_time() - c) / torch.get_num_threads())
    print(json.dumps(dict(wall=min(wall), cpu=min(cpu), above=peak() - start, peak=peak())))


def measure(task, version, batch, size, repeats, threads):
    command = [sys.executable, __file__, "--child", task, version, str(batch), str(size), "--repeats", str(repeats), "--threads", str(threads)]
    env = {**os.environ, "OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}  # threads that wait burn no processor time
    if version == "pytorch": env["SSDIFF_KERNEL"] = "0"
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--batch", type=int, default=12)
    p.add_argument("--repeats", type=int, default=3)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--child", nargs=4)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    if a.child: return child(*a.child[:2], *map(int, a.child[2:]), a.repeats)
    for task, size in (("forward", 64), ("training", 64), ("training", 32)):
        turns = [(v, measure(task, v, a.batch, size, a.repeats, a.threads)) for _ in range(2) for v in ("fast", "pytorch", "written")]
        best = {v: {what: min(r[what] for u, r in turns if u == v) for what in ("wall", "cpu", "above")} for v, _ in turns}
        for v, r in best.items():
            ratio = {what: best["written"][what] / r[what] for what in r}
            print(f"{task:9}{size}x{size} {v:8} wall {1e3 * r['wall'] / a.batch:6.1f}, processor {1e3 * r['cpu'] / a.batch:6.1f} ms a patch, {r['above']:6.0f} MiB;"
                  f" {ratio['wall']:5.2f} and {ratio['cpu']:5.2f} times faster, {1 / ratio['above']:.3f} of the memory", flush=True)
    area = {}
    for task, window, size in (("sharpen", 64, 256), ("sharpen10", 64, 256), ("sharpen", 32, 256), ("sharpen", 64, 512), ("sharpen", 64, 1024)):
        r = measure(task, "fast", window, size, 1, a.threads)
        area[size] = r["cpu"] / size**2
        print(f"{size}x{size}x8, {10 if task == 'sharpen10' else 1} DDIM steps in windows of {window}: wall {r['wall']:.2f}, processor {r['cpu']:.2f} s,"
              f" peak {r['peak']:.0f} MiB in all, {r['above']:.0f} MiB above the start", flush=True)
    print(f"processor time a pixel, 1024x1024 over 512x512: {area[1024] / area[512]:.3f}")


if __name__ == "__main__": main()
