"""The table of sensors, and what asks it, refuse wrong rows, names and counts of bands, and name the place."""
import pytest

from ssdiff.sensors import SENSORS, _build_sensor, _check_row, _Row, fit_sensor, get_sensor, read_sensors

ROW = dict(
    sensor="toy", band="red", centre_nm="660", low_nm="630", high_nm="690",
    mtf_nyquist="0.3", bits="11", full_scale="2047", gsd_m="2", source="made up",
)


@pytest.mark.parametrize("wrong, message", [
    (dict(mtf_nyquist="1.3"), "t.csv, line 2, column mtf_nyquist"),
    (dict(high_nm="640"), "t.csv, line 2: need low_nm < centre_nm < high_nm"),
    (dict(bits="10"), "t.csv, line 2: full_scale 2047 does not fit into 10 bits"),
])
def test_a_wrong_row_is_named(wrong, message):
    with pytest.raises(ValueError) as e: _check_row("t.csv", 2, ROW | wrong)
    assert message in str(e.value)


def test_a_sensor_without_pan_is_refused():
    with pytest.raises(ValueError) as e: _build_sensor("t.csv", "toy", [_Row(**ROW)])
    assert "t.csv: sensor toy needs one row 'pan' and at least one band, found 0 and 1" in str(e.value)


def test_a_table_without_a_column_is_refused(tmp_path):
    path = tmp_path/"t.csv"
    path.write_text("sensor,band\nA,red\n")
    with pytest.raises(ValueError) as e: read_sensors(path)
    assert f"{path}: missing column(s) centre_nm" in str(e.value)


@pytest.mark.parametrize("call, message", [
    (lambda: SENSORS["QB"].first(5), "QB has 4 bands; cannot take its first 5"),
    (lambda: get_sensor("WV5"), "unknown sensor 'WV5'; known are WV3"),
    (lambda: get_sensor(None), "unknown sensor None"),
    (lambda: fit_sensor("QB", 8), "image has 8 bands but sensor QB has 4"),
])
def test_unknown_sensors_and_too_many_bands_are_refused(call, message):
    with pytest.raises(ValueError) as e: call()
    assert message in str(e.value)
