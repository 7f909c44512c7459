"""Time, memory and seams of the command on scenes that no test has time for.

    python tests/bench_sharpen.py                          # 8192x8192 with MTF-GLP-FS and BT-H, 2048x2048 with SSDiff
    python tests/bench_sharpen.py --methods BDSD-PC --size 4096

The scene is a simulated one of 2048x2048 PAN pixels, eight bands.
Larger ones are made of it and its mirror images, so that its content goes on across their edges.
SSDiff is an untrained network here: neither time nor memory depends on the weights.
Every run is a process of its own, and its peak memory is its own.
Seams: the steps between neighbouring columns, the largest and the mean one, at window borders against everywhere else.
"""
import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

from ssdiff.geotiff import write_tiff
from ssdiff.network import save
from ssdiff.scenes import simulate
from ssdiff.network import toy_network

GRID = Affine(.31, 0, 400_000, 0, -.31, 5_300_000)


def write_scene(folder, size, base):
    """PAN and MS files of that size, mirrored as often as it takes."""
    for name, grid in (("pan", GRID), ("ms", GRID @ Affine.scale(4))):
        n = size if name == "pan" else size//4
        extra = max(0, n - base[name].shape[1])
        image = np.pad(base[name][:, :n, :n], ((0, 0), (0, extra), (0, extra)), mode="symmetric")
        write_tiff(folder/f"{name}_{size}.tif", image, grid, tiled=True, compress="deflate")


def seams(path, window):
    """Largest and mean step between columns and rows: at window borders, elsewhere."""
    with rasterio.open(path) as d: image = d.read(3).astype(np.int32)
    steps = [abs(np.diff(x, axis=1)) for x in (image, image.T)]
    largest, mean = (np.concatenate([f(x, axis=0) for x in steps]) for f in (np.max, np.mean))
    border = np.tile(np.arange(1, image.shape[1]) % window == 0, 2)
    return largest[border].max(), largest[~border].max(), mean[border].mean(), mean[~border].mean()


def processor_seconds():
    """What the processes that have ended took."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(folder, size, method, window, options):
    """One command; what it said, its minutes and its seams."""
    pan, ms, out = (folder/f"{n}.tif" for n in (f"pan_{size}", f"ms_{size}", "out"))
    code = "import sys; from ssdiff.command import main; sys.exit(main())"
    how = ["--sensor", "WV3", "--method", method, "--window", str(window), "--quiet", "--overwrite", *options]
    begin, before = time.perf_counter(), processor_seconds()
    done = subprocess.run([sys.executable, "-c", code, pan, ms, out, *how], check=True, capture_output=True, text=True)
    said = done.stdout.split(": ", 1)[1].strip()
    minutes, busy = (time.perf_counter() - begin)/60, (processor_seconds() - before)/60
    (top, top_else, mean, mean_else) = seams(out, window)
    place = lambda d: (d.crs, d.transform, d.shape, d.bounds)
    with rasterio.open(out) as d, rasterio.open(pan) as p: same = place(d) == place(p)
    print(f"{size}x{size} {method} {' '.join(options[:2])}: {minutes:.1f} minutes ({busy:.1f} of a processor); {said}; "
          f"steps at borders / elsewhere: largest {top}/{top_else}, mean {mean:.2f}/{mean_else:.2f}; "
          f"{'same place as PAN' if same else 'NOT THE PLACE OF PAN'}; {out.stat().st_size/1e6:.0f} MB", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--methods", nargs="*", default=["MTF-GLP-FS", "BT-H"])
    p.add_argument("--size", type=int, default=8192, help="PAN pixels a side, for the classical methods")
    p.add_argument("--network-size", type=int, default=2048, help="the same for SSDiff; 0 leaves it out")
    p.add_argument("--steps", type=int, default=1, help="of SSDiff; time is proportional to it")
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder, base = Path(folder), simulate("WV3", 1, 512)
        if a.methods: write_scene(folder, a.size, base)
        for method in a.methods: run(folder, a.size, method, 1024, [])
        if not a.network_size: return
        write_scene(folder, a.network_size, base)
        save(toy_network(8, window=64), folder/"w.safetensors", sensor="WV3", full_scale=2047)
        run(folder, a.network_size, "SSDiff", 512, ["--steps", str(a.steps), "--weights", str(folder/"w.safetensors")])


if __name__ == "__main__": main()
