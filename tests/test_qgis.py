"""The QGIS plugin: its command line, progress, messages, cancelling and zip; QGIS itself where there is one."""
import ast
import configparser
import importlib.util
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLUGIN = ROOT/"qgis/ssdiff_processing"


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


runner, pack = load(PLUGIN/"runner.py"), load(ROOT/"qgis/pack.py").pack


@pytest.fixture
def command(tmp_path):
    "What makes a command of a few lines of Python, which stands in for `ssdiff-sharpen`."
    def make(code):
        path = tmp_path/"bin/ssdiff-sharpen"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!{sys.executable}\nimport json, os, signal, subprocess, sys, time\n{code}")
        path.chmod(0o755)
        return str(path)
    return make


def run(line, cancelled=lambda: False):
    "What a run gives, the progress and the messages that were told."
    steps, said = [], []
    found = runner.run(line, lambda *step: steps.append(step), said.append, cancelled)
    return found, steps, said


# What QGIS and the command have to agree upon

def test_the_plugin_and_the_command_know_the_same():
    from ssdiff.classical import SCHEMES
    from ssdiff.options import sharpen_parser
    from ssdiff.sensors import SENSORS
    from ssdiff.wishes import PLACINGS
    assert set(runner.SENSORS) <= set(SENSORS) and set(runner.METHODS) <= {"SSDiff", *SCHEMES}
    assert set(runner.REGISTRATIONS) == set(PLACINGS["register"])
    assert sharpen_parser().get_default("register") == runner.REGISTRATIONS[0]
    line = runner.command_line("c", "p.tif", "m.tif", "o.tif", "WV3", uncertainty="u.tif", extra="--adapt 0 --cog")
    asked = sharpen_parser().parse_args(line[1:])
    assert (asked.pan, asked.ms, asked.out, asked.sensor) == ("p.tif", "m.tif", "o.tif", "WV3")
    assert asked.json and asked.overwrite and asked.cog and asked.adapt == 0
    assert (asked.uncertainty, asked.samples) == ("u.tif", 8)
    assert asked.register == runner.REGISTRATIONS[0]
    assert "--samples" not in runner.command_line("c", "p", "m", "o", "WV3")
    line = runner.command_line("c", "p", "m", "o", "WV3", register="band")
    assert sharpen_parser().parse_args(line[1:]).register == "band"
    with pytest.raises(runner.Failed, match="cannot be read"): runner.command_line("c", "p", "m", "o", "QB", extra="'")


def test_the_command_is_found_where_people_name_it(command, tmp_path, monkeypatch):
    path = command("")
    assert runner.find_command(tmp_path) == runner.find_command(tmp_path/"bin") == runner.find_command(path) == path
    (tmp_path/"project").mkdir()
    (tmp_path/"project/.venv").symlink_to(tmp_path)
    assert runner.find_command(str(tmp_path/"project")).endswith(".venv/bin/ssdiff-sharpen")
    monkeypatch.setenv("PATH", str(tmp_path/"bin"))
    assert runner.find_command() == path
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(runner.Failed, match="No environment is named"): runner.find_command(" ")
    with pytest.raises(runner.Failed, match="There is no ssdiff-sharpen in"): runner.find_command(tmp_path/"nothing")


# A run

def test_progress_messages_and_what_came_out(command):
    line = command("""
for done in range(3): print(json.dumps(dict(progress="sharpening", done=done, total=2)), file=sys.stderr)
print("a warning\\n{}\\n[1]", file=sys.stderr)
print(json.dumps(dict(args=sys.argv[1:], method="EXP", pixels=2000000, seconds=1.5, hqnr=.9, notes=["resampled"])))
"""), "a b.tif"
    found, steps, said = run(line)
    assert found["args"] == ["a b.tif"] and steps == [("sharpening", 0), ("sharpening", .5), ("sharpening", 1)]
    assert said == ["a warning", "{}", "[1]"]
    assert [*runner.summary(found)] == ["EXP: 2.00 megapixels in 1.5 s", "HQNR 0.900 (1 is ideal)", "note: resampled"]
    assert len([*runner.summary(dict(found, hqnr=None, notes=[]))]) == 1


@pytest.mark.parametrize("code, message", [
    ("print('ssdiff-sharpen: ms has 8 bands', file=sys.stderr); sys.exit(2)", "ssdiff-sharpen: ms has 8 bands"),
    ("sys.exit(3)", "exit status 3 and said nothing"),
    ("print('no JSON')", "said what is no JSON: no JSON")])
def test_what_goes_wrong_is_told(command, code, message):
    with pytest.raises(runner.Failed, match=message): run([command(code)])


def test_what_cannot_be_started_is_told(tmp_path):
    (tmp_path/"text").write_text("no program")
    for path in (tmp_path/"text", tmp_path/"nothing"):
        with pytest.raises(runner.Failed, match="cannot be started"): run([str(path)])


def test_another_python_does_not_see_what_qgis_sets_for_its_own(command, monkeypatch):
    for name in runner.FOREIGN: monkeypatch.setenv(name, "")
    monkeypatch.setenv("PROJ_LIB", "/qgis/proj")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    found = run([command("print(json.dumps(sorted(os.environ)))")])[0]
    assert not set(found) & set(runner.FOREIGN) and "OMP_NUM_THREADS" in found


ASLEEP = """
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE)
child.stdout.readline()
def stop(*_):
    {}
    os._exit(143)
signal.signal(signal.SIGTERM, stop)
open("pid", "w").write(f"{{os.getpid()}} {{child.pid}}")
print(json.dumps(dict(progress="sharpening", done=0, total=2)), file=sys.stderr, flush=True)
time.sleep(600)
"""


def gone(pid):
    try: return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except FileNotFoundError: return True


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks at processes in /proc")
@pytest.mark.parametrize("reply", ["open('cleared', 'w')", "return"],
                         ids=["clears up", "does not listen"])
def test_cancelling_ends_the_run_and_what_it_started(command, tmp_path, monkeypatch, reply):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runner, "PATIENCE", 2)
    begin, pid = time.monotonic(), tmp_path/"pid"
    found, steps, _ = run([command(ASLEEP.format(reply))], cancelled=lambda: pid.exists() and pid.read_text())
    assert found is None and time.monotonic() - begin < 120
    assert (tmp_path/"cleared").exists() == reply.startswith("open")
    for _ in range(100):
        if all(map(gone, pid.read_text().split())): break
        time.sleep(.1)
    assert all(map(gone, pid.read_text().split()))


def test_the_command_itself_as_qgis_runs_it(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = command(f"sys.path.insert(0, {str(ROOT)!r})\nfrom ssdiff.command import main\nsys.exit(main())")
    assert subprocess.run([line, "--example", "."]).returncode == 0
    found, steps, said = run(runner.command_line(line, "PAN.tif", "MS.tif", "OUT.tif", "WV3", "EXP"))
    assert found["method"].startswith("EXP") and (tmp_path/"OUT.tif").exists() and not said
    assert {what for what, _ in steps} == {"checking", "sharpening"} and steps[-1] == ("sharpening", 1)
    with pytest.raises(runner.Failed, match="^ssdiff-sharpen: ms has 8 bands but QB has 4"):
        run(runner.command_line(line, "PAN.tif", "MS.tif", "NONE.tif", "QB", "EXP"))


# The zip

def test_the_same_files_give_the_same_zip(tmp_path):
    first, second = pack(tmp_path/"a.zip"), pack(tmp_path/"b.zip")
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as z: assert z.testzip() is None
    names = [n.split("/", 1) for n in z.namelist()]
    assert {folder for folder, _ in names} == {"ssdiff_processing"}
    parts = {"metadata.txt", "__init__.py", "LICENSE", "algorithm.py", "provider.py", "runner.py"}
    assert {n for _, n in names} == parts


def test_the_metadata_are_those_of_the_package():
    read = configparser.ConfigParser(delimiters=["="])
    read.read([PLUGIN/"metadata.txt", ROOT/"settings.ini"], encoding="utf-8")
    plugin, package = read["general"], read.defaults()
    assert plugin["version"] == package["version"] and plugin["author"] == package["author"]
    assert plugin["hasProcessingProvider"] == "yes" and plugin["email"] == package["author_email"]


def test_the_plugin_needs_nothing_but_qgis():
    for path in PLUGIN.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else \
                [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert {n.split(".")[0] for n in names} <= {"qgis", "processing"} | sys.stdlib_module_names, path


def test_qgis_runs_it(tmp_path):
    "`tests/qgis/run.sh` with this repository's command; minutes on a busy machine."
    python = tmp_path/"bin/ssdiff-sharpen"
    python.parent.mkdir()
    python.write_text(f"#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -c "
                      "'import sys; from ssdiff.command import main; sys.exit(main())' \"$@\"\n")
    python.chmod(0o755)
    environment = {**os.environ, "SSDIFF_ENVIRONMENT": str(tmp_path)}
    done = subprocess.run(["bash", ROOT/"tests/qgis/run.sh"], capture_output=True, text=True, env=environment)
    if done.returncode == 77: pytest.skip(done.stdout.strip().splitlines()[-1])
    assert done.returncode == 0 and "all well" in done.stdout, done.stdout + done.stderr
