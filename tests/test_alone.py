"""The package alone: it reaches for no network, its wheel works outside the repository, one study runs at a time."""
import os
import signal
import subprocess
import sys
import sysconfig
import time
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


# No network

OFFLINE = """
import runpy, socket, sys
here = ("127.0.0.1", "::1", "localhost")
def refuse(self, address, *rest):
    if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in here:
        raise SystemExit(f"reached for {address}")
    return connect(self, address, *rest)
def unknown(host, *rest, **kw):
    if host not in (None, "", *here, b"localhost"): raise SystemExit(f"asked for the address of {host}")
    return resolve(host, *rest, **kw)
connect, resolve = socket.socket.connect, socket.getaddrinfo
socket.socket.connect = socket.socket.connect_ex = refuse
socket.getaddrinfo = unknown
"""

def offline(folder, monkeypatch):
    "From now on every Python that is started refuses all addresses but this machine's own."
    (folder/"site").mkdir()
    (folder/"site/sitecustomize.py").write_text(OFFLINE)          # imported before anything else
    monkeypatch.setenv("PYTHONPATH", f"{folder/'site'}{os.pathsep}{ROOT}")
    monkeypatch.setenv("GDAL_HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder/"cache"))

def python(*args, cwd):
    return subprocess.run([sys.executable, *map(str, args)], cwd=cwd, capture_output=True, text=True)

@pytest.mark.parametrize("code", [
    "import socket; socket.create_connection(('192.0.2.1', 80))",
    "import urllib.request as u; u.urlopen('http://192.0.2.1')",
    "import socket; socket.getaddrinfo('example.org', 80)",
])
def test_the_guard_itself(tmp_path, monkeypatch, code):
    offline(tmp_path, monkeypatch)
    assert "192.0.2.1" in (said := python("-c", code, cwd=tmp_path).stderr) or "example.org" in said

def test_modules_sharpening_and_a_stage_stay_offline(tmp_path, monkeypatch):
    "Every module imported, a sharpening of files, and a stage as dvc.yaml runs it, its kernel included."
    offline(tmp_path, monkeypatch)
    script = """
import pkgutil, importlib, ssdiff
for m in pkgutil.walk_packages(ssdiff.__path__, "ssdiff."): importlib.import_module(m.name)
from affine import Affine
from ssdiff.command import main
from ssdiff.geotiff import write_tiff
from ssdiff.network import save
from ssdiff.scenes import simulate
from ssdiff.network import toy_network
grid, pair = Affine(.5, 0, 300_000, 0, -.5, 5_000_000), simulate("QB", 1, 32)
write_tiff("pan.tif", pair["pan"], grid)
write_tiff("ms.tif", pair["ms"], grid @ Affine.scale(4))
save(toy_network(), "w.safetensors")
assert not main("pan.tif ms.tif out.tif --sensor QB --weights w.safetensors --steps 1 --quiet".split())
from ssdiff.stage import run_stage
run_stage("nbs/study/01_prepare.ipynb", "out.ipynb", sensor="WV2", results="results")
"""
    (tmp_path/"nbs").symlink_to(ROOT/"nbs")
    (tmp_path/"work.py").write_text(f"if __name__ == '__main__':\n{'    '.join(script.splitlines(True))}")
    done = python("work.py", cwd=tmp_path)
    assert not done.returncode and "reached for" not in done.stderr, done.stderr[-2000:]
    assert (tmp_path/"out.tif").exists() and (tmp_path/"out.ipynb").exists()


# The wheel

def without_the_repository(folder, *args, **kwargs):
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run([*map(str, args)], cwd=folder, capture_output=True, text=True, env=env, **kwargs)

@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    "The Python of an environment with the package's wheel, and what the wheel holds."
    # The wheel is built from what git knows; the environment sees the requirements but not the repository
    folder = tmp_path_factory.mktemp("wheel")
    known = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(known, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    for name in (n for n in names if n.startswith("ssdiff/") or "/" not in n):
        if (ROOT/name).is_file():
            (folder/"source"/name).parent.mkdir(parents=True, exist_ok=True)
            (folder/"source"/name).write_bytes((ROOT/name).read_bytes())
    run = lambda *args: without_the_repository(folder, *args, check=True)
    build = "wheel --quiet --no-deps --no-build-isolation --no-index --wheel-dir . ./source".split()
    run(sys.executable, "-m", "pip", *build)
    wheel = next(folder.glob("ssdiff-*.whl"))
    run(sys.executable, "-m", "venv", "--without-pip", "venv")
    python = folder/"venv"/("Scripts" if os.name == "nt" else "bin")/"python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip())
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    # They come after the wheel's own folder; .pth files in there are not followed,
    # so an editable install of the repository is not seen
    (site/"requirements.pth").write_text("\n".join({sysconfig.get_path(k) for k in ("purelib", "platlib")}))
    return python, zipfile.ZipFile(wheel).namelist()

def outside(installed, folder, *args):
    done = without_the_repository(folder, *args)
    assert not done.returncode, done.stderr[-2000:]
    return done.stdout

def test_the_wheel_holds_the_package_and_nothing_else(installed):
    python, names = installed
    assert {n.split("/")[0] for n in names} == {"ssdiff", next(n for n in names if "dist-info" in n).split("/")[0]}
    assert {f"ssdiff/tables/{t}.csv" for t in ("sensors", "spectra")} <= set(names)
    assert not [n for n in names if n.endswith(".ipynb")]
    own = [p for end in ("py", "cpp", "safetensors") for p in (ROOT/"ssdiff").rglob(f"*.{end}")]
    assert {p.relative_to(ROOT).as_posix() for p in own} <= set(names)

def test_it_is_imported_and_its_command_helps_outside_the_repository(installed, tmp_path):
    python, _ = installed
    code = "import ssdiff; print(ssdiff.__file__); ssdiff.SENSORS['WV3']; ssdiff.sharpen"
    where = outside(installed, tmp_path, python, "-c", code)
    assert Path(where.strip()).is_relative_to(python.parents[1])
    said = outside(installed, tmp_path, python.with_name("ssdiff-sharpen"), "--help")
    assert "ssdiff-sharpen PAN.tif MS.tif OUT.tif" in said
    assert "COMMAND" in outside(installed, tmp_path, python.with_name("ssdiff-study"), "--help")

@pytest.mark.parametrize("sensor", ["WV3", "QB"])
def test_it_sharpens_with_its_own_weights_outside_the_repository(installed, tmp_path, sensor):
    python, names = installed
    bands = 8 if sensor == "WV3" else 4
    weights = f"ssdiff/weights/{bands}bands.safetensors"
    if weights not in names: pytest.skip(f"the package brings no {weights} yet")
    script = f"""
import numpy as np, ssdiff
s = ssdiff.SENSORS[{sensor!r}]
x = np.random.default_rng(0).integers(200, 900, (s.n_bands + 1, 64, 64)).astype('u2')
y = ssdiff.sharpen(x[:1], x[1:, ::4, ::4], sensor=s, steps=1)
print(y.shape, y.dtype)
"""
    assert outside(installed, tmp_path, python, "-c", script).strip() == f"({bands}, 64, 64) uint16"


# One at a time

def makefile(folder, lines):
    "The Makefile with another recipe for what `make reproduce` does while it is alone."
    text = (ROOT/"Makefile").read_text()
    begin = text.index("reproduce-alone: $(READY) data\n")
    end = text.index("\n\n", begin)
    recipe = "reproduce-alone:\n" + "".join(f"\t{line}\n" for line in lines)
    (folder/"Makefile").write_text(text[:begin] + recipe + text[end:])

def reproduce(folder):
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    command = ["make", f"PYTHON={sys.executable}", "reproduce"]
    return subprocess.Popen(command, cwd=folder, start_new_session=True, **pipes)

def wait_for(path):
    for _ in range(600):
        if path.exists(): return
        time.sleep(.05)
    raise AssertionError(f"{path} did not appear")

@pytest.mark.skipif(os.name == "nt", reason="needs make and POSIX locks")
def test_two_studies_at_once(tmp_path):
    """The second stops with one message and changes nothing.

    After a SIGKILL of the first the way is free, and not before the last of its processes has ended."""
    makefile(tmp_path, ["@echo run >> runs; touch begun; exec sleep 600"])
    first = reproduce(tmp_path)
    wait_for(tmp_path/"begun")
    second = reproduce(tmp_path)
    said = second.communicate()[1]
    assert second.returncode and "nothing was changed" in said
    assert "Another `make reproduce` is at work in this folder (process " in said
    os.kill(first.pid, signal.SIGKILL)                                                  # make dies, the work goes on
    first.wait()
    assert reproduce(tmp_path).wait()
    os.killpg(first.pid, signal.SIGKILL)                                                # all of it
    assert (tmp_path/"runs").read_text() == "run\n"
    makefile(tmp_path, ["@echo again >> runs"])
    for _ in range(100):
        if not (code := reproduce(tmp_path).wait()): break
        time.sleep(.1)
    assert not code and (tmp_path/"runs").read_text() == "run\nagain\n"
