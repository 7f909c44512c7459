"The files around the notebooks agree: imports are declared, a stage is given what it takes, its dependencies exist."
import ast, configparser, re, shutil, sys
from pathlib import Path
import nbformat, pytest, yaml
from ssdiff.dependencies import write_deps
from ssdiff.params import get_group

ROOT = Path(__file__).parents[1]
PIP_NAME = {"yaml": "pyyaml", "PIL": "pillow", "ruamel": "ruamel.yaml"}
settings = configparser.ConfigParser(delimiters=["="])
settings.read(ROOT/"settings.ini", encoding="utf-8")
settings = settings["DEFAULT"]
pipeline = yaml.safe_load((ROOT/"dvc.yaml").read_text(encoding="utf-8"))
stages = {name: stage.get("do", stage) for name, stage in pipeline["stages"].items()}
params = yaml.safe_load((ROOT/"params.yaml").read_text(encoding="utf-8"))

def names(requirements):
    "The packages that some lines of requirements name, spelt as pip compares them."
    stated = (r.strip() for r in requirements if r.strip() and not r.startswith("#"))
    return {re.split(r"[<>=;!~ \[]", r)[0].lower().replace("_", "-") for r in stated}

def declared(*extras):
    "What settings.ini requires, with the named extras."
    return names("".join(settings[k] for k in ("requirements", *extras)).splitlines())

def imports(source):
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import): yield from (a.name.split(".")[0] for a in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level: yield node.module.split(".")[0]

@pytest.mark.parametrize("path", sorted((ROOT/"ssdiff").rglob("*.py")), ids=lambda p: p.name)
def test_imports_are_declared(path):
    used = {m for m in imports(path.read_text(encoding="utf-8")) if m not in sys.stdlib_module_names | {"ssdiff"}}
    missing = {PIP_NAME.get(m, m) for m in used} - declared("dask_requirements", "onnx_requirements")
    assert not missing, f"settings.ini does not require {missing}"

def test_everything_declared_is_pinned():
    pinned = names((ROOT/"requirements.txt").read_text(encoding="utf-8").splitlines())
    assert declared(*(f"{extra}_requirements" for extra in ("dev", "dask", "onnx", "xarray"))) <= pinned

@pytest.mark.parametrize("name", stages)
def test_a_stage_is_given_what_its_notebook_takes(name):
    stage = stages[name]
    notebook = re.search(r"nbs/study/\S+", stage["cmd"])[0]
    cells = [c for c in nbformat.read(ROOT/notebook, as_version=4).cells if "parameters" in c.metadata.get("tags", [])]
    assert len(cells) == 1, f"{notebook} needs one cell tagged parameters"
    named = [n for n in ast.walk(ast.parse(cells[0].source)) if isinstance(n, ast.Name)]
    takes = {n.id for n in named if isinstance(n.ctx, ast.Store)}
    given = set(re.findall(r"-p (\w+)", stage["cmd"]))
    for group in re.findall(r"--group (\S+)", stage["cmd"]):
        group = group.replace("${profile}", params["profile"]).replace("${item.method}", "PanDiff")
        given |= set(get_group(params, group))
    assert given == takes

@pytest.mark.parametrize("name", stages)
def test_a_stage_depends_on_files_that_exist(name):
    deps = [d for d in stages[name]["deps"] if not d.startswith("results")]
    assert any(d.startswith("nbs/study/") for d in deps)
    assert not [d for d in deps if not (ROOT/d).exists()]

def test_the_networks_of_the_parameters_are_known_by_these_names():
    from ssdiff.baselines import names as known
    assert set(params["methods"]) <= set(known())

def test_every_stage_that_may_be_out_of_date_is_in_a_group_of_the_makefile():
    "What is in none waits until all others are done."
    makefile = (ROOT/"Makefile").read_text(encoding="utf-8")
    groups = re.search(r"for group in (.*?); do", makefile.replace("\\\n", " "))[1].replace("'", "").split()
    known = re.compile("|".join(groups)).fullmatch
    assert len(groups) > 3 and not [name for name in stages if not (stages[name].get("frozen") or known(name))]

def test_stage_notebooks_export_nothing():
    for path in (ROOT/"nbs/study").glob("*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        assert not [c for c in cells if re.search(r"#\|\s*(export|default_exp)", c.source)], path

def test_each_stage_depends_on_the_modules_that_its_notebook_imports(tmp_path):
    "`ssdiff-study deps` has nothing to change."
    shutil.copytree(ROOT/"nbs/study", tmp_path/"nbs/study")
    shutil.copy(ROOT/"dvc.yaml", tmp_path)
    assert not write_deps(tmp_path), "run ssdiff-study deps"

PAGES = sorted(ROOT.glob("nbs/[1-9]_*/*.ipynb"))

def code_of(page, exported=False):
    "The code of a page, or what it exports."
    cells = [c.source for c in nbformat.read(page, as_version=4).cells if c.cell_type == "code"]
    return "\n".join(s for s in cells if not exported or s.startswith("#| export"))

def module_of(page): return re.search(r"#\| default_exp ([\w.]+)", code_of(page))[1]

def test_pages_are_numbered_without_gaps():
    for folder in {p.parent for p in PAGES}:
        numbers = [int(p.name[:2]) for p in PAGES if p.parent == folder]
        assert numbers == [*range(1, len(numbers) + 1)], folder

@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_a_page_exports_nothing_that_needs_a_later_page(page):
    "Not at run time either: an import inside a function counts."
    later = {module_of(p) for p in PAGES[PAGES.index(page):]} - {"__init__"}
    needed = set(re.findall(r"^\s*(?:from|import) ssdiff\.([\w.]+)", code_of(page, exported=True), re.M))
    assert not needed & later

def test_the_symbols_of_the_index_are_names_of_the_code():
    cells = nbformat.read(ROOT/"nbs/index.ipynb", as_version=4).cells
    words = next(c.source for c in cells if "The paper's symbols" in c.source)
    table = words.split("## Words")[1].split("And the project")[0]
    rows = [line.split("|")[2] for line in table.splitlines() if line.startswith("| ") and "`" in line]
    named = {n for row in rows for n in re.findall(r"`([A-Za-z_.]\w*(?:\.\w+)?)", row)}
    code = "\n".join(p.read_text(encoding="utf-8") for p in (ROOT/"ssdiff").glob("*.py"))
    assert len(named) > 15 and not [n for n in named if not re.search(rf"\b{n.rpartition('.')[2]}\b", code)]
    from ssdiff.diffusion import Diffusion
    assert not [n for n in named if n.startswith("Diffusion.") and not hasattr(Diffusion(), n.partition(".")[2])]

NAMING = [*sorted(ROOT.glob("nbs/**/*.ipynb")), ROOT/"README.md", ROOT/"params.yaml", ROOT/"dvc.yaml"]

@pytest.mark.parametrize("path", NAMING, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_pages_that_are_named_exist(path):
    named = set(re.findall(r"nbs/(?:\d_\w+|study)/\d\d_\w+", path.read_text(encoding="utf-8")))
    assert not [n for n in named if not (ROOT/f"{n}.ipynb").exists()]

def test_what_python_writes_beside_code_makes_no_stage_out_of_date():
    lock = yaml.load((ROOT/"dvc.lock").read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    counted = {d["path"]: d["nfiles"] for s in lock["stages"].values() for d in s["deps"]
               if d["path"].startswith("ssdiff/") and "nfiles" in d}
    written = lambda path: [p for p in (ROOT/path).rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    assert "ssdiff/baselines" in counted
    assert counted == {path: len(written(path)) for path in counted}

def lines_of(path):
    "The lines of a text file, or of the code cells of a notebook."
    return (code_of(path) if path.suffix == ".ipynb" else path.read_text(encoding="utf-8")).splitlines()

WRITTEN = [*ROOT.glob("nbs/**/*.ipynb"), *ROOT.glob("tests/**/*.py"), ROOT/"setup.py", ROOT/"Makefile",
           *ROOT.glob("docs/*.py"), *ROOT.glob("qgis/**/*.py"), ROOT/"dvc.yaml", ROOT/"params.yaml",
           ROOT/"mkdocs.yml", ROOT/".ci/run"]

@pytest.mark.parametrize("path", WRITTEN, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_code_has_lines_of_at_most_120_characters(path):
    if ".ipynb_checkpoints" in path.parts: return
    assert not [line for line in lines_of(path) if len(line) > 120]

@pytest.mark.parametrize("path", [*ROOT.glob("nbs/**/*.ipynb")], ids=lambda p: p.relative_to(ROOT).as_posix())
def test_prose_has_lines_of_at_most_120_characters(path):
    "But for what cannot be wrapped: tables, equations, drawings, a page's one line about itself, titles of papers."
    if ".ipynb_checkpoints" in path.parts: return
    cells = [c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "markdown"]
    lines = re.sub(r"(?s)```.*?```", "", "\n".join(cells)).splitlines()
    assert not [line for line in lines if len(line) > 120 and not re.match(r"\||\$\$|> |\*\*", line)]

@pytest.mark.parametrize("table", ["sensors", "spectra"])
def test_the_study_and_the_package_use_the_same_tables(table):
    "A sensor may be the package's alone: the study then takes it from there."
    paths = ROOT/f"ssdiff/tables/{table}.csv", ROOT/f"data/{table}.csv"
    ours, study = (p.read_text(encoding="utf-8").splitlines() for p in paths)
    assert set(study) <= set(ours) if table == "sensors" else study == ours
