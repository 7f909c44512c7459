"The attention kernel as it is compiled, kept and done without, and what depends on its C++"
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from dvc.repo import Repo

from ssdiff.attention import _compiled, _source

ROOT = Path(__file__).parents[1]
BUILDS = shutil.which("c++") and torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
builds = pytest.mark.skipif(not BUILDS, reason="no C++ compiler, or no AVX2")

TRAIN = """
import torch
from ssdiff.diffusion import Diffusion
from ssdiff.inputs import toy_batch
from ssdiff.network import SSDiff
torch.manual_seed(0)
net, b = SSDiff(4, window=16), toy_batch(1, 4, 16)
with torch.no_grad():
    for p in net.parameters(): p.add_(.02 * torch.randn_like(p))
for _ in range(2): loss = Diffusion().loss(net, b, generator=torch.Generator().manual_seed(0))
loss.backward()
print(loss.item(), sum(p.grad.abs().sum().item() for p in net.parameters()))
"""


def python(code, **env):
    "A Python process with these settings; XDG_CACHE_HOME is where it keeps its kernel"
    kept = {k: v for k, v in os.environ.items() if k not in ("SSDIFF_KERNEL", "CXX")}
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return subprocess.Popen([sys.executable, "-c", code], env={**kept, **env}, **pipes)


def answer(process):
    "Its numbers, and the lines of its log"
    said, log = process.communicate()
    assert not process.returncode, log
    return [float(x) for x in said.split()], log.splitlines()


@builds
def test_the_kernel_is_built_by_two_processes_at_once_and_found_again(tmp_path):
    "Where it can be had it is had: nobody falls back to PyTorch unnoticed"
    code = "from ssdiff.attention import kernel; print(int(kernel() is not None))"
    start = lambda: python(code, XDG_CACHE_HOME=str(tmp_path))
    both = [start(), start()]
    assert [answer(p) for p in both] == [([1.0], []), ([1.0], [])]
    built, = (tmp_path/"ssdiff").iterdir()
    before = built.stat().st_mtime_ns
    assert answer(start()) == ([1.0], []) and built.stat().st_mtime_ns == before


@pytest.fixture(scope="module")
def trained():
    "Loss and gradients without the kernel"
    numbers, log = answer(python(TRAIN, SSDIFF_KERNEL="0"))
    assert not log
    return numbers


COMPLAINS = 'echo "1 of 2: fatal error: no such processor" >&2; exit 1'

@pytest.mark.parametrize("env, work, reason", [
    (dict(PATH="/nowhere"), None, "No such file or directory: 'c++'"),
    ({}, ': > "$made"', "file too short"),
    ({}, f': > "$made"; {COMPLAINS}', "fatal error: no such processor"),
    (dict(XDG_CACHE_HOME="/proc"), None, "/proc/ssdiff"),               # not even root may write there
], ids=["no compiler", "a compiler that makes an empty file", "a compiler that fails", "no place to write"])
def test_the_package_works_without_the_kernel_and_says_so_once(tmp_path, trained, env, work, reason):
    if work:
        compiler = tmp_path/"compiler"
        compiler.write_text(f"#!/bin/sh\nfor made; do :; done\n{work}\n")   # its last argument is what it makes
        compiler.chmod(0o755)
        env = dict(CXX=str(compiler))
    numbers, log = answer(python(TRAIN, **{"XDG_CACHE_HOME": str(tmp_path), **env}))
    line, = log
    assert line.startswith("attention runs on PyTorch, with the same results in more time") and reason in line
    assert numbers == trained and not list(tmp_path.rglob("*.part"))


@builds
def test_another_source_is_another_library(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first, second = (_compiled(_source() + end, "c++") for end in ("", "\n// another line\n"))
    assert first != second and first.exists() and second.exists()


# What depends on the C++

@pytest.fixture
def package(tmp_path):
    "A copy of the package's modules and its C++, to be changed"
    skip = shutil.ignore_patterns("__pycache__", "weights")
    return Path(shutil.copytree(ROOT/"ssdiff", tmp_path/"ssdiff", ignore=skip))


def change(package):
    path = package/"attention.cpp"
    text = path.read_text(encoding="utf-8")
    assert text.count("TILE = 128") == 1
    path.write_text(text.replace("TILE = 128", "TILE = 64"), encoding="utf-8")


def test_the_version_of_a_training_knows_the_kernel(package):
    def version():
        code = "from ssdiff.sources import code_version as v; print(v('network'), v('training', 'network'), v('fmim'))"
        return subprocess.run([sys.executable, "-c", code], cwd=package.parent, text=True, check=True,
                              env={**os.environ, "PYTHONPATH": ""}, capture_output=True).stdout.split()[1::2]
    before = version()
    change(package)
    after = version()
    assert [a == b for a, b in zip(before, after)] == [False, False, True]      # fmim needs no attention


def test_stages_that_run_the_network_are_out_of_date_when_the_kernel_changes(package, monkeypatch):
    stages = yaml.safe_load((ROOT/"dvc.yaml").read_text(encoding="utf-8"))["stages"]
    deps = {name: stage.get("do", stage)["deps"] for name, stage in stages.items()}
    modules = {name: [d for d in of if d.startswith("ssdiff/") and (package.parent/d).is_file()]
               for name, of in deps.items()}
    monkeypatch.chdir(package.parent)
    Path("dvc.yaml").write_text(yaml.safe_dump(dict(stages={
        name: dict(cmd="true", deps=of) for name, of in modules.items() if of})))
    with Repo.init(no_scm=True) as repo:
        repo.commit(force=True)
        assert not repo.status()
        change(package)
        late = set(repo.status())
    assert {"pretrain", "finetune", "ablate", "package", "choices", "evaluate", "steps"} <= late
    assert not {"prepare", "baseline", "tables"} & late
