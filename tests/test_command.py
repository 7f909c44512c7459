"""The command: what it says, what it returns, and that bad input touches nothing."""
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import rasterio
from affine import Affine

from ssdiff.command import main
from ssdiff.options import sharpen_parser
from ssdiff.geotiff import write_tiff
from ssdiff.network import save
from ssdiff.scenes import simulate
from ssdiff.network import toy_network

pytestmark = pytest.mark.usefixtures("one_thread")
GRID = Affine(.5, 0, 300_000, 0, -.5, 5_000_000)
PAIR = simulate("QB", 7, 48)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    coarse = GRID @ Affine.scale(4)
    write_tiff("pan.tif", PAIR["pan"], GRID)
    write_tiff("ms.tif", PAIR["ms"], coarse)
    write_tiff("bright.tif", PAIR["pan"]*9, GRID)
    write_tiff("far.tif", PAIR["ms"], coarse @ Affine.translation(1000, 0))
    write_tiff("half.tif", PAIR["ms"], GRID @ Affine.scale(2))
    write_tiff("zone.tif", PAIR["ms"], coarse, crs="EPSG:32634")
    write_tiff("three.tif", PAIR["ms"][:3], coarse)
    write_tiff("empty.tif", np.zeros_like(PAIR["pan"]), GRID, nodata=0)
    write_tiff("complex.tif", PAIR["ms"].astype("complex64"), coarse)
    (tmp_path/"text.tif").write_text("no image")
    (tmp_path/"cut.tif").write_bytes((tmp_path/"pan.tif").read_bytes()[:20_000])
    write_tiff("old.tif", PAIR["ms"], coarse)
    save(toy_network(), "w.safetensors")
    save(toy_network(8), "w8.safetensors")
    return tmp_path


def state(folder): return {f.name: (f.stat().st_size, f.stat().st_mtime_ns) for f in folder.iterdir()}


@pytest.mark.parametrize("line, message", [
    ("pan.tif nothing.tif out.tif --sensor QB", "ms nothing.tif cannot be read (no such file)"),
    ("text.tif ms.tif out.tif --sensor QB", "pan text.tif cannot be read"),
    ("cut.tif ms.tif out.tif --sensor QB", "pan cut.tif cannot be read"),
    ("ms.tif pan.tif out.tif --sensor QB", "in the order PAN, MS?"),
    ("pan.tif complex.tif out.tif --sensor QB", "holds complex numbers"),
    ("pan.tif far.tif out.tif --sensor QB", "do not overlap; are they of the same place?"),
    ("pan.tif half.tif out.tif --sensor QB", "it has to be 4 x 4; resample one of them"),
    ("pan.tif zone.tif out.tif --sensor QB", "bring one to the other's"),
    ("pan.tif three.tif out.tif --sensor QB",
     "ms has 3 bands but QB has 4 (blue, green, red, nir); name the right sensor or select these bands"),
    ("pan.tif ms.tif out.tif --sensor WV3", "ms has 4 bands but WV3 has 8"),
    ("pan.tif ms.tif out.tif --sensor XY7", "unknown sensor 'XY7'; known are"),
    ("pan.tif ms.tif out.tif --sensor QB --method sharp", "is unknown; known are EXP"),
    ("bright.tif ms.tif out.tif --sensor QB", "above the full scale 2047 of QB; name the right sensor"),
    ("pan.tif ms.tif out.tif --sensor QB --full-scale 100", "above the full scale 100"),
    ("empty.tif ms.tif out.tif --sensor QB", "there is no pixel where both pan and ms have data"),
    ("pan.tif ms.tif old.tif --sensor QB", "old.tif exists already; choose another name, or allow overwriting it"),
    ("pan.tif ms.tif pan.tif --sensor QB --overwrite", "pan.tif is one of the inputs"),
    ("pan.tif ms.tif no/such/out.tif --sensor QB", "there is no folder"),
    ("pan.tif ms.tif . --sensor QB", "is a folder"),
    ("pan.tif ms.tif out.tif --sensor QB --window 33", "window must be a multiple of 4"),
    ("pan.tif ms.tif out.tif --sensor QB --samples 2 --uncertainty u.tif", "needs a method that samples"),
    ("pan.tif ms.tif out.tif --sensor QB --uncertainty u.tif", "uncertainty needs at least two samples"),
    ("pan.tif ms.tif out.tif --sensor QB --steps 4", "takes no steps"),
    ("pan.tif ms.tif out.tif --sensor QB --adapt 5", "takes no adapt"),
    ("pan.tif ms.tif out.tif --sensor QB --method PNN", "brings no weights of PNN for 4 bands; pass a file"),
    ("pan.tif ms.tif out.tif --sensor QB --method SSDiff --weights w8.safetensors",
     "the weights are for 8 bands but QB has 4"),
    ("pan.tif ms.tif out.tif --sensor QB --method SSDiff --weights text.tif",
     "is not a readable safetensors file"),
    ("pan.tif ms.tif out.tif --sensor QB --method SSDiff --weights w.safetensors --steps 0",
     "steps must be"),
    ("pan.tif ms.tif out.tif --sensor QB --method SSDiff --weights w.safetensors --adapt 5",
     "adapting needs at least two"),
    ("pan.tif ms.tif out.tif --sensor QB --method SSDiff --weights w.safetensors --device warp",
     "device 'warp' cannot be used")])
def test_bad_input_is_one_line_and_touches_nothing(folder, capfd, line, message):
    if line.endswith("--adapt 5") and "w.safetensors" in line:  # one window only
        write_tiff("pan.tif", PAIR["pan"][:, :128, :128], GRID)
        write_tiff("ms.tif", PAIR["ms"][:, :32, :32], GRID @ Affine.scale(4))
    before = state(folder)
    assert main([*line.split(), "--quiet", *([] if "--method" in line else ["--method", "MTF-GLP-FS"])]) == 2
    said = capfd.readouterr()
    assert said.out == "" and len(said.err.splitlines()) == 1, said
    assert said.err.startswith("ssdiff-sharpen: ") and message in said.err, said.err
    assert state(folder) == before


QUICK = """
import sys
from ssdiff.command import main
try: code = main(sys.argv[1:])
except SystemExit as e: code = e.code
assert not {"torch", "scipy", "rich"} & set(sys.modules)
sys.exit(code)
"""


@pytest.mark.parametrize("line, code, message", [
    ("--help", 0, "exit status:"),
    ("pan.tif ms.tif --sensor QB", 2, "the following arguments are required: OUT"),
    ("pan.tif nothing.tif out.tif --sensor QB", 2, "ms nothing.tif cannot be read (no such file); check its name"),
    ("pan.tif text.tif out.tif --sensor QB", 2, "ms text.tif cannot be read"),
    ("pan.tif ms.tif out.tif --sensor XY7", 2, "known are WV3, WV2, QB, GF2, IKONOS, GE1, WV4\n"),
    ("pan.tif ms.tif out.tif --sensor QB --method sharp", 2, "method 'sharp' is unknown; known are EXP, BT-H, BDSD-PC, "
     "MTF-GLP-FS, SSDiff, PNN, DiCNN, MSDCNN, FusionNet, CTINN, LAGConv, MMNet, DCFNet, PanDiff\n"),
    ("pan.tif ms.tif old.tif --sensor QB", 2, "choose another name, or allow overwriting it (--overwrite)\n"),
    ("pan.tif ms.tif out.tif --sensor QB --keep-weights k.safetensors", 2,
     ": --keep-weights keeps what adapt makes; say for how many iterations (--adapt …)\n"),
    ("pan.tif ms.tif out.tif --sensor QB --uncertainty u.tif", 2, "needs at least two samples (--samples …)\n"),
    ("--example pan.tif", 2, "pan.tif is a file; name a folder\n")])
def test_what_can_be_said_at_once_is_said_before_anything_slow_is_imported(folder, line, code, message):
    done = subprocess.run([sys.executable, "-c", QUICK, *line.split()], capture_output=True, text=True)
    assert done.returncode == code and message in done.stdout + done.stderr, done


def test_the_help_has_groups_examples_and_what_the_exit_status_means(capsys):
    with pytest.raises(SystemExit): main(["--help"])
    said = capsys.readouterr().out
    titles = "files:", "method:", "network:", "time and memory:", "examples:", "exit status:"
    assert all(title in said for title in titles)
    from ssdiff.baselines import names
    words = " ".join(said.split())
    assert f"MTF-GLP-FS, SSDiff (default); with --weights also {', '.join(names())}" in words
    for line in re.findall("^  ssdiff-sharpen (.*)", said, re.M): sharpen_parser().parse_args(line.split())


def test_a_program_is_told_how_far_the_work_is(folder, capfd):
    assert main("pan.tif ms.tif out.tif --sensor QB --method EXP --json".split()) == 0
    said = capfd.readouterr()
    steps = [json.loads(line) for line in said.err.splitlines()]
    assert [(s["progress"], s["done"], s["total"]) for s in steps] == \
        [(what, done, 1) for what in ("checking", "sharpening") for done in (0, 1)]
    assert json.loads(said.out)["method"] == "EXP" and len(said.out.splitlines()) == 1
    assert main("pan.tif ms.tif out.tif --sensor QB --method EXP --json --overwrite --quiet".split()) == 0
    assert capfd.readouterr().err == ""


def test_no_permission(folder, capfd, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # as root everything may be written
    assert main(["pan.tif", "ms.tif", "out.tif", "--sensor", "QB", "--method", "EXP", "--quiet"]) == 2
    assert "cannot be written to; choose another" in capfd.readouterr().err


def test_what_it_says_in_the_end(folder, capfd):
    assert main("pan.tif ms.tif out.tif --sensor qb --method bdsd-pc --overviews".split()) == 0
    said = capfd.readouterr()
    assert said.out.startswith("out.tif: 0.037 megapixels in ") and "peak memory" in said.out and "HQNR 0." in said.out
    assert "sharpening" in said.err  # the progress
    assert main("pan.tif ms.tif out.tif --sensor QB --method EXP --overwrite --quiet".split()) == 0
    assert capfd.readouterr().err == ""


def bars(text): return re.findall(r"(\w+) ━+ +(\d+)/(\d+)", text)


def test_each_bar_is_shown_once_and_ends_at_its_total(folder, capfd):
    write_tiff("pan.tif", np.tile(PAIR["pan"], (1, 1, 2)), GRID)
    write_tiff("ms.tif", np.tile(PAIR["ms"], (1, 1, 2)), GRID @ Affine.scale(4))
    begin = time.perf_counter()
    assert main("pan.tif ms.tif out.tif --sensor QB --weights w.safetensors --steps 1 --adapt 3".split()) == 0
    took, said = time.perf_counter() - begin, capfd.readouterr()
    shown = bars(said.err)
    assert [name for name, *_ in shown] == ["checking", "adapting", "sharpening"]
    assert all(done == total for _, done, total in shown)
    seconds = float(re.search(r"megapixels in ([\d.]+) s", said.out)[1])
    assert .9*took - .1 < seconds <= took + .05  # all of it, adapting too


@pytest.mark.parametrize("side, words", [(48, "(1 is ideal)"), (160, "(mean of 4 windows; 1 is ideal)")])
def test_a_mean_is_said_to_be_one_only_if_it_is(folder, capfd, side, words):
    pair = simulate("QB", 7, side)
    write_tiff("pan.tif", pair["pan"], GRID)
    write_tiff("ms.tif", pair["ms"], GRID @ Affine.scale(4))
    assert main("pan.tif ms.tif out.tif --sensor QB --method EXP --quiet".split()) == 0
    assert f"{words}\n" in capfd.readouterr().out


def test_a_network_sampled_and_adapted(folder):
    options = "--sensor QB --weights w.safetensors --steps 1 --samples 2 --uncertainty u.tif --quiet".split()
    assert main(["pan.tif", "ms.tif", "out.tif", *options]) == 0
    write_tiff("pan.tif", np.tile(PAIR["pan"], (1, 1, 2)), GRID)
    write_tiff("ms.tif", np.tile(PAIR["ms"], (1, 1, 2)), GRID @ Affine.scale(4))
    options = "--sensor QB --weights w.safetensors --steps 1 --adapt 2 --keep-weights kept.safetensors --quiet".split()
    assert main(["pan.tif", "ms.tif", "adapted.tif", *options]) == 0
    assert main("pan.tif ms.tif again.tif --sensor QB --weights kept.safetensors --steps 1 --quiet".split()) == 0
    with rasterio.open("adapted.tif") as a, rasterio.open("again.tif") as b: assert np.array_equal(a.read(), b.read())


def test_ctrl_c_leaves_nothing(folder):
    before = state(folder)
    code = ("import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
            "from ssdiff.command import main; sys.exit(main())")
    line = "pan.tif ms.tif out.tif --sensor QB --weights w.safetensors --steps 500 --quiet"
    process = subprocess.Popen([sys.executable, "-c", code, *line.split()], stderr=subprocess.PIPE, text=True)
    try:
        for _ in range(3000):                     # a busy machine takes its time
            if process.poll() is not None or list(folder.glob(".out.tif.*.partial")): break
            time.sleep(.1)
        assert list(folder.glob(".out.tif.*.partial"))
        process.send_signal(signal.SIGINT)
        error = process.communicate()[1]
    finally: process.kill()
    assert process.returncode == 130 and error == "ssdiff-sharpen: interrupted; nothing was written\n"
    assert state(folder) == before


def test_an_example_needs_nothing_else_and_can_be_sharpened(folder, capsys):
    assert main(["--example", "an example"]) == 0
    said = capsys.readouterr()
    assert said.err == "" and said.out.splitlines()[1].startswith("now run: ssdiff-sharpen ")
    line = shlex.split(said.out.splitlines()[1])[3:]
    assert main([*line, "--method", "EXP", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["out"] == "an example/OUT.tif" and said["pixels"] == 256*256
    assert said["method"] == "EXP, moved back to MS" and "right of PAN" in said["notes"][0] # an array is off by itself
    assert 0 < said["hqnr"] <= 1 and said["hqnr_windows"] == 1 and said["seconds"] > 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_a_shell_completes_options_and_their_values(capsys, shell):
    assert main(["--completion", shell]) == 0
    script = capsys.readouterr().out
    for word in ("--uncertainty", "WV3", "MTF-GLP-FS", "FusionNet", "ddpm"): assert word in script
    if shell == "bash":
        for option, value in dict(register="band", grid="pan", precision="bfloat16").items():
            assert re.search(rf"_{option}_choices=.*\b{value}\b", script)
        assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0
