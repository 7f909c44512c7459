"""The ONNX file: ONNX Runtime computes what PyTorch does, without PyTorch; nothing half-done is left."""
import subprocess
import sys

import numpy as np
import pytest
import torch

from ssdiff.catalogue import get_method
from ssdiff.export import main
from ssdiff.network import save, toy_network
from ssdiff.resampling import upsample23
from ssdiff.scenes import simulate
from ssdiff.sensors import SENSORS

pytestmark = pytest.mark.usefixtures("one_thread")
FULL = SENSORS["WV3"].full_scale
PAIR = {k: simulate("WV3", 5, 8)[k][None].astype("float32") for k in ("pan", "ms")}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    "The package's own weights as the command writes them, and what it said."
    for module in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(module, reason=f"{module} is not installed: pip install ssdiff[onnx]")
    path = tmp_path_factory.mktemp("onnx")/"WV3.onnx"
    code = "import sys; from ssdiff.export import main; sys.exit(main())"
    line = [str(path), "--sensor", "WV3", "--seed", "4"]
    said = subprocess.run([sys.executable, "-c", code, *line], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    return path, said.stdout


def test_it_equals_a_window_of_the_network_where_there_is_no_torch(exported, tmp_path):
    np.savez(tmp_path/"pair.npz", **PAIR)
    code = """
import sys, numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
image, = session.run(None, dict(np.load("pair.npz")))
np.save("image.npy", image)
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code, str(exported[0])], cwd=tmp_path, check=True)
    made = np.load(tmp_path/"image.npy")
    net = get_method("SSDiff", "WV3").net
    pan, ms = (torch.from_numpy(PAIR[k]/FULL) for k in ("pan", "ms"))
    ours = net.restore(pan, upsample23(ms), ms, steps=1, seed=4).numpy()*FULL
    assert made.shape == (1, 8, 32, 32) and made.dtype == np.float32 and made.std() > .01*FULL
    assert abs(made - ours).max() < 1e-4*FULL


def test_one_file_says_what_it_is_for(exported):
    import onnx
    path, said = exported
    assert [f.name for f in path.parent.iterdir()] == ["WV3.onnx"]
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    facts = {p.key: p.value for p in model.metadata_props}
    assert facts["sensor"] == "WV3" and facts["window"] == "32" and facts["seed"] == "4"
    assert float(facts["full_scale"]) == FULL and facts["bands"].startswith("coastal")
    assert [i.name for i in model.graph.input] == ["pan", "ms"] and [o.name for o in model.graph.output] == ["image"]
    assert said.startswith(f"{path}: SSDiff, 1 step, for WV3 (coastal, ") and "ONNX Runtime differs" in said


@pytest.mark.parametrize("line, message", [
    ("out.pt --sensor WV3", "ends with .onnx"),
    ("old.onnx --sensor WV3", "old.onnx exists already; choose another name, or allow overwriting it (--overwrite)"),
    ("out.onnx --sensor XY7", "unknown sensor 'XY7'"),
    ("out.onnx --sensor WV3 --window 30", "window must be a multiple of 4"),
    ("out.onnx --sensor WV3 --weights none.safetensors", "no weights at none.safetensors")])
def test_what_is_refused_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, capsys, line, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ssdiff.export.find_spec", lambda name: True)
    (tmp_path/"old.onnx").write_text("mine")
    assert main(line.split()) == 2
    said = capsys.readouterr()
    assert said.out == "" and len(said.err.splitlines()) == 1 and message in said.err, said
    assert said.err.startswith("ssdiff-export: ")
    assert [f.name for f in tmp_path.iterdir()] == ["old.onnx"] and (tmp_path/"old.onnx").read_text() == "mine"


def test_what_is_missing_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("ssdiff.export.find_spec", lambda name: None)
    assert main([str(tmp_path/"out.onnx"), "--sensor", "WV3"]) == 2
    wanted = "an export needs onnx, onnxscript, onnxruntime; install it: pip install ssdiff[onnx]"
    assert wanted in capsys.readouterr().err


def test_a_file_that_differs_is_not_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("ssdiff.export.find_spec", lambda name: True)
    monkeypatch.setattr("ssdiff.export.write_graph", lambda module, path, *size_and_facts: path.write_text("graph"))
    for difference in (2e-4, float("nan")):
        monkeypatch.setattr("ssdiff.export.compare_graph", lambda *args: difference)
        assert main([str(tmp_path/"out.onnx"), "--sensor", "QB"]) == 2
        assert "ONNX Runtime differs from PyTorch by" in capsys.readouterr().err and not [*tmp_path.iterdir()]


def test_the_window_and_the_weights_are_those_that_were_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr("ssdiff.export.find_spec", lambda name: True)
    made = []
    def write(module, path, bands, side, facts):
        made.append((module.noise.shape[-1], side, facts["window"], sum(p.numel() for p in module.net.parameters())))
        path.write_text("graph")
    monkeypatch.setattr("ssdiff.export.write_graph", write)
    monkeypatch.setattr("ssdiff.export.compare_graph", lambda *args: 0.)
    net = toy_network()
    save(net, tmp_path/"w.safetensors")
    line = [str(tmp_path/"out.onnx"), "--sensor", "QB", "--window", "16", "--weights", str(tmp_path/"w.safetensors")]
    assert main(line) == 0 and (tmp_path/"out.onnx").read_text() == "graph"
    assert made == [(16, 16, 16, sum(p.numel() for p in net.parameters()))]
