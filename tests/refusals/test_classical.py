"""The classical methods refuse pairs, sensors and ratios that do not fit, and say why."""
import numpy as np
import pytest

from ssdiff.classical import METHODS, exp

MS, PAN = np.ones((4, 32, 32)), np.ones((1, 128, 128))


@pytest.mark.parametrize("call, message", [
    (lambda: exp(np.repeat(MS, 2, 0), PAN, "QB"), "ms has 8 bands but sensor QB has 4"),
    (lambda: exp(MS, PAN, "QB", 0), "ratio must be a whole number of at least 2, got 0"),
    (lambda: exp(MS, PAN, "WV9"), "unknown sensor 'WV9'"),
])
def test_inputs_that_do_not_fit_are_refused(call, message):
    with pytest.raises(ValueError) as e: call()
    assert message in str(e.value)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_refuses_an_unknown_sensor_and_missing_values(method):
    with pytest.raises(ValueError, match="unknown sensor"): METHODS[method](MS, PAN, "nowhere")
    holes = np.where(np.arange(32) > 20, np.nan, MS)
    with pytest.raises(ValueError, match="ms:"): METHODS[method](holes, PAN, "QB")
