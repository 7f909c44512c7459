"The study's records and runs, on files written in PanCollection's own layout and on hostile parameters."
import json
import numpy as np, pytest
from ssdiff.data import SPLITS, file_name, write_file
from ssdiff.pipeline import ParamsError, check_params
from ssdiff.study import dataset_record, images, prepare_dataset

@pytest.fixture
def real(tmp_path):
    "A folder of files as PanCollection delivers them: float64, N×C×H×W."
    rng, folder = np.random.default_rng(0), tmp_path/"data/pancollection"
    for split in SPLITS:
        n, side = (4, 64) if split in ("train", "valid") else (2, 64)
        x = dict(gt=rng.uniform(0, 2047, (n, 8, side, side)), ms=rng.uniform(0, 2047, (n, 8, side//4, side//4)), lms=rng.uniform(0, 2047, (n, 8, side, side)), pan=rng.uniform(0, 2047, (n, 1, side, side)))
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
    path = real/file_name("WV3", "valid"); path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match="valid_wv3.h5.*truncated"): prepare_dataset(tmp_path/"results", "WV3", "pancollection", real)

def test_the_record_follows_the_bytes(real, tmp_path):
    before = prepare_dataset(tmp_path/"results", "WV3", "pancollection", real)
    assert json.dumps(before, sort_keys=True) == json.dumps(prepare_dataset(tmp_path/"results", "WV3", "pancollection", real), sort_keys=True)

@pytest.mark.parametrize("bad", [None, 3, "demo", {}, {"profile": "demo"}, {"profile": []}, {"profile": "demo", "dataset": 7, "demo": [1]}])
def test_any_bad_parameters_give_one_message(bad):
    with pytest.raises(ParamsError): check_params(bad)
