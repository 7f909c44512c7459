"""Parameters, groups, profiles and folders of results that the study cannot go on with; the message says what to do."""
import copy
from pathlib import Path

import pytest
import yaml

from ssdiff.params import check_params, get_group, ParamsError, read_params
from ssdiff.pipeline import set_profile, show_results

PARAMS = yaml.safe_load((Path(__file__).parents[2]/"params.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("call, words", [
    (lambda: check_params([]), "no names"),
    (lambda: read_params("nowhere.yaml"), "repository's root"),
    (lambda: get_group(PARAMS, "demo.prepar"), "no group 'demo.prepar'"),
    (lambda: get_group(PARAMS, "profile.prepare"), "no group 'profile.prepare'"),
    (lambda: set_profile("lab"), "ci, demo, full, paper"),
])
def test_what_is_not_there_is_named(call, words):
    with pytest.raises(ParamsError, match=words): call()


def test_a_file_without_a_profile_stays_as_it_is(tmp_path):
    path = tmp_path/"params.yaml"
    path.write_text("demo: {}\n")
    with pytest.raises(ParamsError, match="no line that begins with profile:"): set_profile("ci", path)
    assert path.read_text() == "demo: {}\n" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("change, words", [
    (dict(sensors=["GF2", "QB"]), "WV3 must be among the sensors (WV3 for Tables 3 to 6"),
    (dict(sensors=["WV3", *PARAMS["dataset"]["sensors"]]), "sensors name something twice"),
    (dict(images=["WV3", "GF2"]), "images must name every sensor"),
])
def test_a_dataset_that_contradicts_itself(change, words):
    params = copy.deepcopy(PARAMS)
    params["dataset"] |= change
    with pytest.raises(ParamsError) as e: check_params(params)
    assert words in str(e.value)


def test_results_without_tables(tmp_path):
    with pytest.raises(FileNotFoundError, match="dvc repro"): show_results(tmp_path)
