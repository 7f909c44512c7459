"The files around the notebooks agree: imports are declared, a stage is given what it takes, its dependencies exist."
import ast, configparser, re, sys
from pathlib import Path
import nbformat, pytest, yaml

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
    missing = {PIP_NAME.get(m, m) for m in used} - declared("dask_requirements")
    assert not missing, f"settings.ini does not require {missing}"

def test_everything_declared_is_pinned():
    pinned = names((ROOT/"requirements.txt").read_text(encoding="utf-8").splitlines())
    assert declared("dev_requirements", "dask_requirements") <= pinned

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
        at = params
        group = group.replace("${profile}", params["profile"]).replace("${item.method}", "pandiff")
        for key in group.split("."): at = at[key]
        given |= set(at)
    assert given == takes

@pytest.mark.parametrize("name", stages)
def test_a_stage_depends_on_files_that_exist(name):
    deps = [d for d in stages[name]["deps"] if not d.startswith("results")]
    assert any(d.startswith("nbs/study/") for d in deps)
    assert not [d for d in deps if not (ROOT/d.replace("${item.method}", "pandiff")).exists()]

def test_stage_notebooks_export_nothing():
    for path in (ROOT/"nbs/study").glob("*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        assert not [c for c in cells if re.search(r"#\|\s*(export|default_exp)", c.source)], path

# What a stage may use without depending on it: what runs stages, files and layouts;
# in training, pictures and the indices of the learning curve, which change no weight.
_AROUND = {"study", "files", "data", "training"}
_CURVES = {"study", "files", "data", "plots", "metrics", "sensors"}
FREE = {
    "prepare": {"study"},
    "pretrain": _CURVES,
    "ablate": _CURVES,
    "finetune": _CURVES,
    "baseline": _CURVES,
    "evaluate": _AROUND | {"plots"},
    "generalize": _AROUND | {"plots"},
    "package": {"study", "files", "data", "plots", "metrics"},
    "steps": _AROUND | {"plots", "reporting", "classical"},
    "choices": _AROUND - {"training"}
    | {"reporting", "classical", "evaluation", "metrics", "sensors", "resampling", "images"},
    "parts": _AROUND | {"plots", "reporting", "classical", "evaluation"},
    "tables": _AROUND | {"classical", "evaluation"},
    "figures": _AROUND | {"network", "diffusion", "baselines", "classical", "evaluation"},
}  # in figures: names, and the smoke run's own methods

def modules_used(source, package=""):
    here, above = (set(re.findall(rf"^from {dots}(\w+) import", source, re.M)) for dots in (r"\.", r"\.\."))
    return set(re.findall(r"^(?:from|import) ssdiff\.([\w.]+)", source, re.M)) | {package + m for m in here} | above

def closure(modules, free):
    found, todo = set(), set(modules) - free
    while todo:
        m = todo.pop()
        found.add(m)
        source = (ROOT/f"ssdiff/{m.replace('.', '/')}.py").read_text(encoding="utf-8")
        todo |= modules_used(source, m.rpartition(".")[0] + "." if "." in m else "") - found - free
    return found

@pytest.mark.parametrize("name", stages)
def test_a_stage_depends_on_the_modules_that_decide_its_result(name):
    notebook = re.search(r"nbs/study/\S+", stages[name]["cmd"])[0]
    source = "\n".join(c.source for c in nbformat.read(ROOT/notebook, as_version=4).cells if c.cell_type == "code")
    modules = [d.removeprefix("ssdiff/").removesuffix(".py") for d in stages[name]["deps"] if d.startswith("ssdiff/")]
    depends = {m.replace("/", ".") for m in modules}
    used = modules_used(source) | {"prepare": {"scenes", "data"}, "baseline": {"baselines.pandiff"}}.get(name, set())
    if "baselines" in depends: assert re.search(r"^import ssdiff$", source, re.M)     # ssdiff.load opens any of them
    missing = closure(used, FREE[name]) - {d.replace("${item.method}", "pandiff") for d in depends}
    assert not missing, f"{name} uses {missing} without depending on them"

@pytest.mark.parametrize("table", ["sensors", "spectra"])
def test_the_study_and_the_package_use_the_same_tables(table):
    assert (ROOT/f"data/{table}.csv").read_bytes() == (ROOT/f"ssdiff/tables/{table}.csv").read_bytes()
