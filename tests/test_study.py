"The study's records and runs, on files written in PanCollection's own layout and on hostile parameters."
import copy, json, os, re, subprocess
from pathlib import Path
import nbformat, numpy as np, pytest, yaml
from hypothesis import given, settings, strategies as st
from scipy.io import savemat
from ssdiff.pancollection import file_name, SPLITS, write_file
from ssdiff.params import check_params, ParamsError, read_params
from ssdiff.pipeline import main
from ssdiff.study import dataset_record, images, prepare_dataset

@pytest.fixture
def real(tmp_path):
    "A folder of files as PanCollection delivers them: float64, N×C×H×W."
    rng, folder = np.random.default_rng(0), tmp_path/"data/pancollection"
    for split in SPLITS:
        n, side = (4, 64) if split in ("train", "valid") else (2, 64)
        def image(bands, side): return rng.uniform(0, 2047, (n, bands, side, side))
        x = dict(gt=image(8, side), ms=image(8, side//4), lms=image(8, side), pan=image(1, side))
        if split == "full": del x["gt"]
        write_file(folder/file_name("WV3", split), x)
    return folder

def test_real_files_are_found_checked_and_read(real, tmp_path):
    record = prepare_dataset(tmp_path/"results", "WV3", "pancollection", real)
    assert {k: v["images"] for k, v in record.items()} == dict(train=4, valid=4, test=2, full=2)
    assert dataset_record(tmp_path/"results", "WV3") == record
    assert images(tmp_path/"results", "WV3", "train")[3]["gt"].shape == (8, 64, 64)
    assert not list((tmp_path/"results/datasets/WV3").glob("*.h5"))       # the originals are read where they are

def test_a_damaged_real_file_stops_before_training(real, tmp_path):
    path = real/file_name("WV3", "valid")
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match="valid_wv3.h5.*truncated"):
        prepare_dataset(tmp_path/"results", "WV3", "pancollection", real)

def test_matlab_files_are_gathered_where_the_simulated_images_would_be(real, tmp_path):
    rng = np.random.default_rng(1)
    for i in (1, 2, 3):
        for kind in ("data", "data_fr"):
            sides = dict(gt=(64, 64, 8), ms=(16, 16, 8), lms=(64, 64, 8), pan=(64, 64))
            x = {k: rng.uniform(0, 2047, shape) for k, shape in sides.items() if (kind, k) != ("data_fr", "gt")}
            (real/"examples").mkdir(exist_ok=True)
            savemat(real/f"examples/Test(HxWxC)_wv3_{kind}{i}.mat", x)
    record = prepare_dataset(tmp_path/"results", "WV3", "pancollection-mat", real)
    assert {k: v["images"] for k, v in record.items()} == dict(train=4, valid=4, test=3, full=3)
    np.testing.assert_allclose(images(tmp_path/"results", "WV3", "full")[2]["pan"][0], x["pan"]/2047, rtol=1e-6)
    (real/"examples/Test(HxWxC)_wv3_data2.mat").write_bytes(b"none" * 99)
    with pytest.raises(ValueError, match="wv3_data2.mat: cannot be read"):
        prepare_dataset(tmp_path/"results", "WV3", "pancollection-mat", real)

def test_the_record_follows_the_bytes(real, tmp_path):
    before, again = (prepare_dataset(tmp_path/"results", "WV3", "pancollection", real) for _ in range(2))
    assert json.dumps(before, sort_keys=True) == json.dumps(again, sort_keys=True)

HALF = {"profile": "demo", "dataset": 7, "demo": [1]}

@pytest.mark.parametrize("bad", [None, 3, "demo", {}, {"profile": "demo"}, {"profile": []}, HALF])
def test_any_bad_parameters_give_one_message(bad):
    with pytest.raises(ParamsError): check_params(bad)

PARAMS = yaml.safe_load((Path(__file__).parents[1]/"params.yaml").read_text(encoding="utf-8"))

def leaves(values, path=()):
    "Where something stands in a tree of groups, except under the names that may hold anything."
    for k, v in values.items():
        if isinstance(v, dict) and k not in ("options", "sampling", "iterations"): yield from leaves(v, (*path, k))
        else: yield (*path, k)

def put(values, path, x):
    for k in path[:-1]: values = values[k]
    values[path[-1]] = x

def never(path):
    "Values that are wrong for any parameter of that name."
    if {"name", "profile"} & set(path): return [3, None, ["x"], {"a": 1}, "../x", ""]
    return [-1, float("nan"), float("inf"), "much", ["x"], [[]], True, {"a": {"b": 1}}, object]

LENIENT = ("seed", "options", "sampling", "iterations", "batch", "period",
           "validate_every", "checkpoint_every", "compare_steps", "size")
STRICT = sorted({p for p in leaves(PARAMS) if p[-1] not in LENIENT})

@pytest.mark.parametrize("path", [p for p in STRICT if len(p) < 3], ids=".".join)
def test_a_mistake_by_itself_is_named(path):
    for x in never(path):
        params = copy.deepcopy(PARAMS); put(params, path, x)
        with pytest.raises(ParamsError, match=re.escape(".".join(path))): check_params(params)

@settings(max_examples=60*int(os.environ.get("EXAMPLES", 1)), deadline=None, derandomize="EXAMPLES" not in os.environ)
@given(st.data(), st.lists(st.sampled_from(STRICT), min_size=1, max_size=5, unique=True))
def test_every_mistake_is_in_the_one_message(data, paths):
    params = copy.deepcopy(PARAMS)
    for p in paths: put(params, p, data.draw(st.sampled_from(never(p))))
    with pytest.raises(ParamsError) as e: check_params(params)
    said = str(e.value)
    assert all(".".join(map(str, p)) in said for p in paths), said
    assert len(said) < 300*(10 + len(said.splitlines()))

@pytest.mark.parametrize("change, says", [
    (lambda p: p.update(methods=3), "methods: expected a group"),
    (lambda p: p.pop("methods"), "methods: expected a group"),
    (lambda p: p["methods"]["PNN"].pop("demo"), "methods.PNN.demo: Field required"),
    (lambda p: p["methods"].update({"a.b": p["methods"]["PNN"]}), "methods: 'a.b' is no name of a network"),
    (lambda p: p["demo"].update(methods={}), "demo.methods: not a known group"),
    (lambda p: p["dataset"]["sensors"].append("WV2"), "WV2 is for the generalization test"),
    (lambda p: p["dataset"]["images"].insert(0, "WV9"), "dataset.images.0: Value error, not a known sensor"),
    (lambda p: p["base"]["figures"]["items"].pop("QB"), "demo.figures: Value error, items lacks QB"),
    (lambda p: p["demo"]["pretrain"].update({1: 2}), "demo.pretrain"),
    (lambda p: p.update({None: 1}), "None: not a known name"),
    (lambda p: p["dataset"].update(ablate=["V1", "V1"]), "name something twice"),
    (lambda p: p["dataset"]["finetune"]["GF2"].update(name="../../x"), "dataset.finetune.GF2.name"),
    (lambda p: p["methods"].update({"os; rm": p["methods"]["PNN"]}), "methods: 'os; rm' is no name"),
    (lambda p: p["paper"]["prepare"].update(test_size=10**6), "paper.prepare.test_size"),
    (lambda p: p["package"].update(lr=[.1]), "package: Value error, as many numbers for each part"),
])
def test_mistakes_that_are_no_wrong_values(change, says):
    params = copy.deepcopy(PARAMS); change(params)
    with pytest.raises(ParamsError) as e: check_params(params)
    assert says in str(e.value)

def test_parameters_that_dvc_wrote(tmp_path):
    "`dvc exp run -S` writes YAML 1.2, where no needs no quotes"
    text = (Path(__file__).parents[1]/"params.yaml").read_text(encoding="utf-8")
    (tmp_path/"params.yaml").write_text(text.replace('"no"', "no"), encoding="utf-8")
    assert read_params(tmp_path/"params.yaml") == PARAMS

def test_a_few_lines_that_would_unfold_to_gigabytes(tmp_path):
    nine = lambda item: ", ".join([item]*9)
    lines = [f"a0: &a0 [{nine('x')}]", *(f"a{i}: &a{i} [{nine(f'*a{i - 1}')}]" for i in range(1, 12))]
    (tmp_path/"params.yaml").write_text("\n".join([*lines, "profile: *a11", "demo: {pretrain: {lr: *a11}}"]))
    with pytest.raises(ParamsError) as e: read_params(tmp_path/"params.yaml")
    assert len(str(e.value)) < 20_000

SPOILT = [b"\xff\xfe\x00", b"["*5000, b"a: [1", b"!!python/object/apply:os.mkdir [ran]", b"- 1", b"", b"a: \x00"]

@pytest.mark.parametrize("content", SPOILT)
def test_a_file_that_is_no_parameters_is_one_line(tmp_path, monkeypatch, capfd, content):
    monkeypatch.chdir(tmp_path); Path("params.yaml").write_bytes(content)
    assert main("run nowhere.ipynb out.ipynb --group demo.prepare".split()) == 2
    assert capfd.readouterr().err.startswith("ssdiff-study: params.yaml") and os.listdir() == ["params.yaml"]

def test_a_stage_shows_what_its_notebook_prints_and_nothing_of_its_kernel(tmp_path):
    page = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("print(6*7)")])
    nbformat.write(page, tmp_path/"page.ipynb")
    command = ["ssdiff-study", "run", "page.ipynb", "out.ipynb"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("", "42\n", 0)
