"The outputs in the pages are current: `docs/pages.py` notices whatever is stale, and nothing else."
import base64, io, os, re, shutil, subprocess, sys, types
from pathlib import Path
import nbformat, pytest
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT/"docs"))
from pages import difference, same_number, same_text, small, tidy  # noqa: E402

SHOWS = """import sys, warnings
import matplotlib.pyplot as plt
warnings.warn("not to be kept")
print("a bar", file=sys.stderr)
print("SAM is", 0.1234567)
plt.plot([0, 1]);
"""

def picture(grey, size=(40, 30)):
    stream = io.BytesIO()
    Image.new("L", size, grey).save(stream, "png")
    return base64.b64encode(stream.getvalue()).decode()

def text(words): return [dict(output_type="stream", name="stdout", text=words)]
def drawn(*of): return [dict(output_type="display_data", metadata={}, data={"image/png": picture(*of)})]

@pytest.mark.parametrize("new, old", [
    ("0.123", "0.124"), ("1e-9", "3e-8"), ("1.4e-4", "7.5e-5"), ("12000", "12100"), ("-0.50", "-0.51")])
def test_numbers_that_another_processor_would_give(new, old): assert same_number(new, old)

@pytest.mark.parametrize("new, old", [
    ("3", "4"), ("0.120", "0.125"), ("1e-3", "1.1e-3"), ("4e-4", "1e-4"), ("-0.5", "0.5")])
def test_numbers_that_are_others(new, old): assert not same_number(new, old)

def test_words_count_and_blanks_do_not():
    assert same_text("SAM  3.120\n", "SAM 3.121")
    assert not same_text("SAM 3.12", "ERGAS 3.12") and not same_text("1 2", "1 2 3")

@pytest.mark.parametrize("new, old, told", [
    (text("SAM 1.0"), text("ERGAS 1.0"), "shows 'SAM' and the page has 'ERGAS'"),
    (text("SAM 1.00"), text("SAM 1.10"), "shows '1.00' and the page has '1.10'"),
    (drawn(100), drawn(102), "shows another picture than the page has"),
    (drawn(100), drawn(100, (40, 31)), "shows another picture than the page has"),
    (drawn(100), [], "shows a picture, which is not in the page"),
    ([], text("SAM"), "no longer shows a text"),
    (text("SAM"), drawn(100), "shows text and the page has image/png")])
def test_what_is_stale_is_told(new, old, told): assert difference(new, old) == told

def test_a_picture_that_another_processor_would_draw(): assert difference(drawn(100), drawn(101)) is None

def test_a_cell_can_keep_its_output_to_itself():
    cell = new_code_cell("#| output: false\nprint(time())", outputs=[nbformat.from_dict(text("3 s")[0])])
    assert tidy(cell) == []

def test_an_object_has_no_address():
    assert tidy(new_code_cell("f", outputs=text("<f at 0x7f00aa>")))[0]["text"] == ["<f>"]

def test_a_large_picture_is_made_small():
    output = small(dict(data={"image/png": picture(100, (3000, 1500))}))
    assert Image.open(io.BytesIO(base64.b64decode(output["data"]["image/png"]))).size == (1000, 500)

def pages(root, do):
    "`docs/pages.py` in a repository of these pages."
    run = [sys.executable, "docs/pages.py", do]
    return subprocess.run(run, cwd=root, capture_output=True, text=True, env=os.environ | {"NO_COLOR": "1"})

def test_pages_written_are_current_until_something_changes(tmp_path):
    shutil.copy(ROOT/"settings.ini", tmp_path)
    for folder in ("docs", "nbs", "nbs/study"): (tmp_path/folder).mkdir()
    shutil.copy(ROOT/"docs/pages.py", tmp_path/"docs")
    def edit(name, change):
        nb = nbformat.read(tmp_path/f"nbs/{name}.ipynb", as_version=4)
        change(nb.cells[0])
        nbformat.write(nb, tmp_path/f"nbs/{name}.ipynb")
    for name in ("fine", "word", "number", "drawing", "missing", "study/01_stage"):
        nbformat.write(new_notebook(cells=[new_code_cell(SHOWS, id="c1")]), tmp_path/f"nbs/{name}.ipynb")
    assert pages(tmp_path, "write").returncode == 0
    outputs = nbformat.read(tmp_path/"nbs/fine.ipynb", as_version=4).cells[0].outputs
    assert [o.output_type for o in outputs] == ["stream", "display_data"] and outputs[0].text == "SAM is 0.1234567\n"
    assert not nbformat.read(tmp_path/"nbs/study/01_stage.ipynb", as_version=4).cells[0].outputs
    written = (tmp_path/"nbs/fine.ipynb").read_bytes()
    subprocess.run(["nbdev_clean"], cwd=tmp_path, check=True)
    assert (tmp_path/"nbs/fine.ipynb").read_bytes() == written
    edit("word", lambda cell: cell.update(source=cell.source.replace("SAM is", "SAM was")))
    edit("number", lambda cell: cell.update(source=cell.source.replace("0.1234567", "0.13")))
    edit("drawing", lambda cell: cell.update(source=cell.source.replace("plot([0, 1])", "bar([0], [1])")))
    edit("missing", lambda cell: cell.update(outputs=[]))
    (tmp_path/"nbs/wrong.ipynb").write_text((tmp_path/"nbs/fine.ipynb").read_text().replace("plt.plot", "plt.plod"))
    checked = pages(tmp_path, "check")
    lines = [line for line in checked.stdout.splitlines() if " s  " not in line]
    told = dict(drawing="shows another picture", missing="shows a text, which", number="shows '0.13'",
        word="shows 'was'")
    assert checked.returncode == 1 and len(lines) == 5
    for line, (name, what) in zip(lines, told.items()):
        assert line.startswith(f"nbs/{name}.ipynb: the cell c1 {what}")
        assert line.endswith(f"run `make pages PAGES=nbs/{name}.ipynb`")
    assert lines[4] == "nbs/wrong.ipynb: failed, see above" and "plod" in checked.stderr

@pytest.mark.parametrize("path, kept", [
    ("nbs/index.ipynb", 1), ("nbs/study/01_prepare.ipynb", 0), ("nbs/7_study/02_stage.ipynb", 1)])
def test_jupyterlab_saves_the_outputs_of_every_page_but_a_stage(path, kept):
    config = types.SimpleNamespace(ContentsManager=types.SimpleNamespace())
    exec((ROOT/".jupyter/jupyter_server_config.py").read_text(encoding="utf-8"), dict(c=config))
    cell = new_code_cell("1 + 1", execution_count=3, outputs=[nbformat.from_dict(text("2")[0])])
    model = dict(type="notebook", content=new_notebook(cells=[cell]))
    config.ContentsManager.pre_save_hook(path, model, types.SimpleNamespace(root_dir=ROOT))
    assert len(cell.outputs) == kept and cell.execution_count is None

SHOWN = [*ROOT.glob("nbs/**/*.ipynb"), *ROOT.glob("docs/study/*.ipynb")]

def test_pages_and_their_outputs_are_small(): assert sum(p.stat().st_size for p in SHOWN) < 15e6

FLEETING = r"/tmp/|/home/|/root/|site-packages|0x[0-9a-f]{6,}|\bit/s|Warning:|seconds=|\d ?(ms|µs|s)\b"

@pytest.mark.parametrize("page", sorted(SHOWN), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_no_output_tells_of_one_run_only(page):
    "No path of a machine, no address, no duration, no progress bar, no warning; `#| output: false` keeps them out."
    cells = [c for c in nbformat.read(page, as_version=4).cells if c.cell_type == "code"]
    assert not [c.id for c in cells if c.execution_count]
    for output in (o for c in cells for o in c.outputs):
        assert output.output_type != "error" and output.get("name") != "stderr"
        assert {*output.get("data", {})} <= {"text/plain", "text/html", "text/markdown", "image/png"}
        words = [output.get("text", ""), *(v for k, v in output.get("data", {}).items() if k.startswith("text"))]
        assert not re.search(FLEETING, "\n".join(words)), page
