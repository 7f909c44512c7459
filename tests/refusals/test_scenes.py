"""Scenes that cannot be drawn are refused, and the message says why."""
import pytest

from ssdiff.painting import draw_scene
from ssdiff.spectra import read_spectra
from ssdiff.scenes import run_many


@pytest.mark.parametrize("call, message", [
    (lambda: read_spectra().index("kryptonite"), "unknown material 'kryptonite'"),
    (lambda: draw_scene(0, 4), "too small"),
    (lambda: draw_scene(-1), "seed must be a whole number of at least 0"),
    (lambda: draw_scene(1.5), "seed must be a whole number of at least 0"),
    (lambda: draw_scene(0, kind="moon"), "unknown landscape 'moon'"),
    (lambda: next(run_many(abs, [1], workers=0)), "workers must be a whole number of at least 1"),
])
def test_wrong_arguments_are_refused(call, message):
    with pytest.raises(ValueError) as e: call()
    assert message in str(e.value)
