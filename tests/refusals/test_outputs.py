"""Names that nothing is written to: taken, in no folder, without the right ending, given twice, or in use by a run."""
import pytest

from ssdiff.outputs import check_apart, check_output, new_files


@pytest.mark.parametrize("name, kind, words", [
    ("a.tif", FileExistsError, "exists already"),
    ("no/a.tif", FileNotFoundError, "there is no folder"),
    ("a.jp2", ValueError, "ends with .tif or .tiff"),
    ("-", ValueError, "ends with .tif or .tiff"),
    ("a", ValueError, "ends with .tif or .tiff"),
])
def test_a_name_that_is_no_place_for_a_result(tmp_path, name, kind, words):
    (tmp_path/"a.tif").write_text("a")
    with pytest.raises(kind, match=words): check_output(tmp_path/name, ())


def test_two_results_in_one_file():
    with pytest.raises(ValueError, match="result and uncertainty are both"):
        check_apart(result="a.tif", uncertainty="./a.tif")


def test_a_file_that_another_run_is_writing(tmp_path):
    with new_files([tmp_path/"d.tif"], True):
        with pytest.raises(FileExistsError, match="another run is writing"):
            with new_files([tmp_path/"d.tif"], False): pass
    assert not list(tmp_path.iterdir())
