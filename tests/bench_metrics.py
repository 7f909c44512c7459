"""Times of the indices and classical methods: python tests/bench_metrics.py [threads].

One line each, median and largest of seven calls.
"""
import sys
import time

import numpy as np
import torch

from ssdiff import metrics
from ssdiff.classical import METHODS
from ssdiff.resampling import upsample23


def show(what, limit, f, calls=7):
    f()
    seconds = []
    for _ in range(calls):
        start = time.perf_counter()
        f()
        seconds.append(time.perf_counter() - start)
    print(f"{what:44s} median {np.median(seconds):.3f} s, largest {max(seconds):.3f} s, wanted {limit} s")


def main(threads=2):
    torch.set_num_threads(threads)
    rng = np.random.default_rng(0)
    gt, fused = rng.uniform(0, 2047, (2, 8, 256, 256))
    draw = lambda *shape: rng.uniform(0, 2047, shape)
    big, ms, pan = draw(8, 512, 512), draw(8, 128, 128), draw(1, 512, 512)
    args = big, ms, upsample23(ms), pan, "WV3"
    four = metrics.sam, metrics.ergas, metrics.q2n, metrics.scc
    show("SAM, ERGAS, Q2n, SCC of 256x256x8", 0.15, lambda: [f(gt, fused) for f in four])
    show("reduced(), Q included", 0.15, lambda: metrics.reduced(gt, fused, border=None))
    show("D_lambda_K, D_s, HQNR of 512x512x8", 1, lambda: metrics.hqnr(*args))
    show("full(), D_lambda and QNR included", 1, lambda: metrics.full(*args))
    for name, f in METHODS.items(): show(f"{name}, PAN 512x512, 8 bands", 2, lambda: f(ms, pan, "WV3"))


if __name__ == "__main__": main(*map(int, sys.argv[1:]))
