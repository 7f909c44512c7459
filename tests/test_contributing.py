"""The four examples of CONTRIBUTING.md, carried out as they stand there, in a copy of the repository.

Each block of code goes where the words before it say. Then the commands at the end are run."""
import os, re, shutil, subprocess, sys
from pathlib import Path
import nbformat, pandas as pd, pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
MOST = {"A compared network": 2, "A sensor": 3, "A sampler": 2, "A table": 2}     # files that a person touches
NUMBERS = dict(one=1, two=2, three=3)

def sections():
    "Heading → what stands below it, of the part with the examples."
    text = (ROOT/"CONTRIBUTING.md").read_text(encoding="utf-8")
    part = text.split("## Four things that people add\n")[1].split("\n## ")[0]
    return dict(s.split("\n", 1) for s in part.split("\n### ")[1:])

def steps(section):
    "(words, blocks) in order; a block is its language and its lines."
    found, pieces = [], re.split(r"(?ms)^```(\w+)\n(.*?)\n```$", section)
    for words, language, code in zip(pieces[::3], pieces[1::3], pieces[2::3]):
        if words.strip(): found.append((" ".join(words.split()), []))
        found[-1][1].append((language, code))
    return found

def carry_out(section, root):
    "Every step of an example."
    path = None
    for words, blocks in steps(section):
        named = re.search(r"`([\w/]+\.(?:ipynb|yaml|csv))`", words)
        path = root/named[1] if named else path
        {".ipynb": edit_page, ".yaml": set_values, ".csv": add_lines}[path.suffix](path, words, [*blocks])

def add_lines(path, words, blocks):
    assert "At the end of" in words
    path.write_text(path.read_text(encoding="utf-8") + "".join(f"{code}\n" for _, code in blocks), encoding="utf-8")

def set_values(path, words, blocks):
    yaml = YAML()
    yaml.width, yaml.preserve_quotes = 4096, True
    values = yaml.load(path.read_text(encoding="utf-8"))
    for _, code in blocks: put(values, yaml.load(code))
    yaml.dump(values, path)

def put(old, new):
    "Values into a tree of groups. A list that takes another's place has all that was in it, or the example is stale."
    for k, v in new.items():
        if isinstance(v, dict) and k in old: put(old[k], v)
        else:
            if isinstance(v, list): assert set(old[k]) <= set(v)
            old[k] = v

def edit_page(path, words, blocks):
    cells = [(new_markdown_cell if language == "markdown" else new_code_cell)(code) for language, code in blocks]
    page = nbformat.read(path, as_version=4) if path.exists() else new_notebook()
    assert path.exists() != ("new page" in words)
    if "new page" in words: page.cells = cells
    elif found := re.search("before the cell with `(.+?)`", words): page.cells[place(page, found[1]):0] = cells
    else: edit_line(page, words, *cells)
    nbformat.write(page, path)

def place(page, text):
    "The number of the only cell that has a line which begins like that."
    number, = (i for i, c in enumerate(page.cells) if re.search(rf"(?m)^{re.escape(text)}", c.source))
    return number

def edit_line(page, words, new):
    how, text = re.search("(below the line|in place of the line that begins with) `(.+?)`", words).groups()
    cell = page.cells[place(page, text)]
    old = re.search(rf"(?m)^{re.escape(text)}.*$", cell.source)[0]
    if how != "below the line": assert {*re.findall(r"\w+", old)} < {*re.findall(r"\w+", new.source)}     # or stale
    cell.source = cell.source.replace(old, f"{old}\n{new.source}" if how == "below the line" else new.source)

def git(*args, folder=ROOT):
    named = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    return subprocess.run(["git", *named, *args], cwd=folder, check=True, capture_output=True, text=True).stdout

def copy(root):
    "What is in this working tree and no result, as a repository of its own."
    for name in git("ls-files", "-z", "-co", "--exclude-standard").split("\0"):
        if not (ROOT/name).is_file(): continue
        (root/name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT/name, root/name)
    shutil.copytree(ROOT/"data", root/"data")
    git("init", "--quiet", folder=root)
    git("add", "-A", folder=root)
    git("commit", "--quiet", "-m", "as it was", folder=root)

@pytest.fixture(scope="module")
def carried_out(tmp_path_factory):
    "The copy after all, and the files that each example touched."
    root, touched = tmp_path_factory.mktemp("copy"), {}
    copy(root)
    *examples, last = sections().items()
    for heading, section in examples:
        carry_out(section, root)
        touched[heading] = git("status", "--porcelain", "-uall", folder=root).splitlines()
        git("add", "-A", folder=root)
        git("commit", "--quiet", "-m", heading, folder=root)
    (words, [(_, commands)]), = steps(last[1])
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(root), "OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": "1"}
    run = subprocess.run(["bash", "-e", "-c", commands], cwd=root, env=env, capture_output=True, text=True)
    assert run.returncode == 0, (run.stdout + run.stderr)[-5000:]
    return root, touched

def test_each_takes_the_files_that_its_heading_counts(carried_out):
    touched = {heading.split(":")[0]: len(files) for heading, files in carried_out[1].items()}
    assert touched == {h.split(":")[0]: NUMBERS[h.split()[-2]] for h in carried_out[1]}
    assert touched.keys() == MOST.keys() and all(touched[k] <= most for k, most in MOST.items())

def test_the_sensor_has_a_table_and_the_network_a_row_in_it(carried_out):
    numbers = pd.read_csv(carried_out[0]/"results/ci/tables/toy.csv")
    sam = numbers[numbers.metric == "SAM"].set_index("method")
    assert list(sam.index) == ["BDSD-PC", "MTF-GLP-FS", "BT-H", "Linear", "SSDiff"]
    assert (sam["images"] == 2).all() and sam["mean"].between(0, 90, inclusive="neither").all()
    page = (carried_out[0]/"results/ci/tables/toy.md").read_text(encoding="utf-8")
    assert page.startswith("**TOY: all methods.** On simulated scenes;") and "\n| Linear |" in page

def test_the_table_is_written(carried_out):
    hqnr = pd.read_csv(carried_out[0]/"results/ci/tables/hqnr.csv", index_col="method")
    assert hqnr.loc[["EXP", "Linear", "SSDiff"], "TOY"].between(0, 1).all()

def test_the_sampler_was_chosen(carried_out):
    page = nbformat.read(carried_out[0]/"results/ci/notebooks/evaluate_TOY.ipynb", as_version=4)
    assert any('sampler = "renoised"' in c.source for c in page.cells)

def test_nothing_else_was_written_by_hand(carried_out):
    "What the commands wrote of the repository: the package, the pipeline's lists, the profile, results."
    changed = [line[3:] for line in git("status", "--porcelain", "-uall", folder=carried_out[0]).splitlines()]
    known = ("ssdiff/", "dvc.yaml", "dvc.lock", "nbs/study/networks.yaml", "params.yaml", "results/")
    assert "ssdiff/baselines/linear.py" in changed and all(c.startswith(known) for c in changed)
