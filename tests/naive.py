"""The toolbox's indices once more, pixel by pixel and block by block, as slow and as plain as possible.

An oracle for inputs of which no reference figure exists. Arrays are (C,H,W); it shares no code with ssdiff.
"""
import math

import numpy as np
from scipy.ndimage import correlate

EPS = 2.0**-52


def sam(x, y):
    angles = []
    for p, q in zip(x.reshape(len(x), -1).T, y.reshape(len(y), -1).T):
        norm = math.sqrt(sum(p*p)*sum(q*q))
        if norm != 0: angles.append(math.acos(min(1, max(-1, sum(p*q)/norm))))
    return math.degrees(sum(angles)/len(angles))


def ergas(x, y, ratio=4):
    return 100/ratio*math.sqrt(np.mean([np.mean((a-b)**2)/np.mean(a)**2 for a, b in zip(x, y)]))


def gradient(band):
    inner, kernel = band[1:-1, 1:-1], np.array([[1, 2, 1], [0, 0, 0], [-1, -2, -1]])
    return np.hypot(correlate(inner, kernel, mode="constant"), correlate(inner, kernel.T, mode="constant"))


def scc(x, y):
    g, h = np.array([gradient(b) for b in x]), np.array([gradient(b) for b in y])
    return (g*h).sum()/math.sqrt((g*g).sum()*(h*h).sum())


def q_window(a, b):
    n, sx, sy, sxx, syy, sxy = a.size, a.sum(), b.sum(), (a*a).sum(), (b*b).sum(), (a*b).sum()
    d1, d2 = n*(sxx+syy) - (sx*sx+sy*sy), sx*sx + sy*sy
    if d2 == 0: return 1.
    return 2*sx*sy/d2 if d1 == 0 else 4*(n*sxy-sx*sy)*sx*sy/(d1*d2)


def q(x, y, block=32):
    rows, cols = (n-block+1 for n in x.shape[1:])
    cut = lambda v, i, j: v[i:i+block, j:j+block]
    windows = [(i, j) for i in range(rows) for j in range(cols)]
    return np.mean([[q_window(cut(a, *w), cut(b, *w)) for w in windows] for a, b in zip(x, y)])


def conj(v):
    return np.concatenate([v[:1], -v[1:]])


def mult(x, y):
    """The toolbox's own recursion, components first."""
    n = len(x)
    if n == 1: return x*y
    a, b, c, d = x[:n//2], conj(x[n//2:]), y[:n//2], conj(y[n//2:])
    return np.concatenate([mult(a, c) - mult(d, conj(b)), mult(conj(a), d) + mult(c, b)])


def q2n_block(x, y):
    n, sign = x.shape[1], np.where(np.arange(len(x)) == 0, 1, -1)
    u, v = np.empty_like(x), np.empty_like(y)
    for i in range(len(x)):
        m, s = x[i].mean(), x[i].std(ddof=1) or EPS
        u[i] = (x[i]-m)/s + 1
        v[i] = sign[i]*((y[i]-m)/s + 1 if m != 0 else y[i]-m+1)
    mu, mv, f = u.mean(1), v.mean(1), n/(n-1)
    nu, nv = np.linalg.norm(mu), np.linalg.norm(mv)
    bias = 2*nu*nv/(nu**2 + nv**2)
    var = f*((u*u).sum(0).mean() + (v*v).sum(0).mean() - nu**2 - nv**2)
    if abs(var) < 1e-12: return bias  # both are flat; the square of a root need not be exact
    return np.linalg.norm(f*(mult(u, v).mean(1) - mult(mu, mv)))*bias*2/var


def q2n(x, y, block=32, shift=None):
    shift = shift or block
    rows, cols = (math.ceil(n/shift) for n in x.shape[1:])
    bands = 1 << (len(x)-1).bit_length()

    def ready(v):
        pads = [(0, 0)] + [(0, (k-1)*shift + block - n) for k, n in zip((rows, cols), v.shape[1:])]
        v = np.clip(np.pad(np.asarray(v, float), pads, mode="symmetric"), 0, 65535)
        return np.concatenate([np.trunc(v) + (v - np.trunc(v) >= .5), np.zeros((bands-len(v), *v.shape[1:]))])

    x, y = ready(x), ready(y)
    cut = lambda v, i, j: v[:, i*shift:i*shift+block, j*shift:j*shift+block].reshape(bands, -1)
    return np.mean([q2n_block(cut(x, i, j), cut(y, i, j)) for i in range(rows) for j in range(cols)])


def uiqi_blocks(a, b, block=32):
    """Mean of Q over distinct blocks, sample moments; where both are flat, their means alone."""
    values = []
    for i in range(0, a.shape[0], block):
        for j in range(0, a.shape[1], block):
            p, q = a[i:i+block, j:j+block].ravel(), b[i:i+block, j:j+block].ravel()
            (vp, c), (_, vq) = np.cov(p, q)
            m = p.mean()**2 + q.mean()**2
            values.append(1. if m == 0 else 2*p.mean()*q.mean()/m if vp+vq == 0 else 4*c*p.mean()*q.mean()/(vp+vq)/m)
    return np.mean(values)


def d_s(fused, lms, pan, coarse_pan, block=32):
    fine = [uiqi_blocks(f, pan[0], block) for f in fused]
    coarse = [uiqi_blocks(l, coarse_pan[0], block) for l in lms]
    return np.mean([abs(a-b) for a, b in zip(fine, coarse)])


def d_lambda(fused, lms, block=32):
    pairs = [(i, j) for i in range(len(lms)) for j in range(i+1, len(lms))]
    moved = lambda i, j: abs(uiqi_blocks(fused[i], fused[j], block) - uiqi_blocks(lms[i], lms[j], block))
    return np.mean([moved(i, j) for i, j in pairs])
