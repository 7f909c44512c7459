"The files around the notebooks agree with each other: what is imported is declared, what a stage is given it takes, what it depends on exists."
import ast, configparser, re, sys
from pathlib import Path
import nbformat, pytest, yaml

ROOT = Path(__file__).parents[1]
PIP_NAME = {"yaml": "pyyaml"}
settings = configparser.ConfigParser(delimiters=["="]); settings.read(ROOT/"settings.ini", encoding="utf-8"); settings = settings["DEFAULT"]
stages = yaml.safe_load((ROOT/"dvc.yaml").read_text(encoding="utf-8"))["stages"]
params = yaml.safe_load((ROOT/"params.yaml").read_text(encoding="utf-8"))

def names(requirements): return {re.split(r"[<>=;!~ \[]", r.strip())[0].lower().replace("_", "-") for r in requirements if r.strip() and not r.startswith("#")}
def imports(source):
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import): yield from (a.name.split(".")[0] for a in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level: yield node.module.split(".")[0]

@pytest.mark.parametrize("path", sorted((ROOT/"ssdiff").rglob("*.py")), ids=lambda p: p.name)
def test_imports_are_declared(path):
    used = {m for m in imports(path.read_text(encoding="utf-8")) if m not in sys.stdlib_module_names | {"ssdiff"}}
    missing = {PIP_NAME.get(m, m) for m in used} - names((settings["requirements"] + settings["dask_requirements"]).splitlines())
    assert not missing, f"settings.ini does not require {missing}"

def test_everything_declared_is_pinned():
    pinned = names((ROOT/"requirements.txt").read_text(encoding="utf-8").splitlines())
    assert names((settings["requirements"] + settings["dev_requirements"] + settings["dask_requirements"]).splitlines()) <= pinned

@pytest.mark.parametrize("name", stages)
def test_a_stage_is_given_what_its_notebook_takes(name):
    stage = stages[name]
    notebook = re.search(r"nbs/study/\S+", stage["cmd"])[0]
    cells = [c for c in nbformat.read(ROOT/notebook, as_version=4).cells if "parameters" in c.metadata.get("tags", [])]
    assert len(cells) == 1, f"{notebook} needs one cell tagged parameters"
    takes = {n.id for n in ast.walk(ast.parse(cells[0].source)) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    given = set(re.findall(r"-p (\w+)", stage["cmd"]))
    for group in re.findall(r"--group (\S+)", stage["cmd"]):
        at = params
        for key in group.replace("${profile}", params["profile"]).split("."): at = at[key]
        given |= set(at)
    assert given == takes

@pytest.mark.parametrize("name", stages)
def test_a_stage_depends_on_files_that_exist(name):
    deps = [d for d in stages[name]["deps"] if not d.startswith("results")]
    assert any(d.startswith("nbs/study/") for d in deps)
    assert not [d for d in deps if not (ROOT/d).exists()]

def test_stage_notebooks_export_nothing():
    for path in (ROOT/"nbs/study").glob("*.ipynb"):
        assert not [c for c in nbformat.read(path, as_version=4).cells if re.search(r"#\|\s*(export|default_exp)", c.source)], path

# What a stage may use without depending on it: the runner; reading a file in a fixed layout; in pretrain, pictures and the indices of the learning curve, which change no weight.
FREE = {"prepare": {"study"}, "pretrain": {"study", "data", "plots", "metrics", "sensors"}, "evaluate": {"study", "data", "training"}, "tables": {"study", "classical"}}

def modules_used(source):
    return {m.removeprefix("ssdiff.") for m in re.findall(r"^(?:from|import) (ssdiff\.\w+)", source, re.M)} | set(re.findall(r"^from \.(\w+) import", source, re.M))

def closure(modules, free):
    found, todo = set(), set(modules) - free
    while todo:
        m = todo.pop(); found.add(m)
        todo |= modules_used((ROOT/f"ssdiff/{m}.py").read_text(encoding="utf-8")) - found - free
    return found

@pytest.mark.parametrize("name", stages)
def test_a_stage_depends_on_the_modules_that_decide_its_result(name):
    notebook = re.search(r"nbs/study/\S+", stages[name]["cmd"])[0]
    source = "\n".join(c.source for c in nbformat.read(ROOT/notebook, as_version=4).cells if c.cell_type == "code")
    used = modules_used(source) | ({"scenes", "data"} if name == "prepare" else set())
    depends = {Path(d).stem for d in stages[name]["deps"] if d.startswith("ssdiff/") and d.endswith(".py")}
    missing = closure(used, FREE[name]) - depends
    if name == "tables": missing -= closure({"evaluation"}, set()) - {"evaluation"}     # of evaluation, tables uses only what prints numbers
    assert not missing, f"{name} uses {missing} without depending on them"

@pytest.mark.parametrize("table", ["sensors", "spectra"])
def test_the_study_and_the_package_use_the_same_tables(table):
    assert (ROOT/f"data/{table}.csv").read_bytes() == (ROOT/f"ssdiff/tables/{table}.csv").read_bytes()
