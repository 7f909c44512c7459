"""Arrays with names keep their coordinates, attributes and fill value."""
import numpy as np
import pytest

import ssdiff
from ssdiff.scenes import simulate

xr = pytest.importorskip("xarray")
pytestmark = pytest.mark.usefixtures("one_thread")
PAIR, HOW = simulate("QB", 7, 16), dict(sensor="QB", method="EXP")


def pair(dtype="uint16", pan_attrs={}, ms_attrs={}, order=("band", "y", "x")):
    at = lambda n, step: dict(y=5e6 - step*(np.arange(n) + .5), x=3e5 + step*(np.arange(n) + .5))
    crs = lambda place: xr.DataArray(0, attrs=dict(crs_wkt="UTM", GeoTransform=place))
    pan = xr.DataArray(
        PAIR["pan"].astype(dtype), dict(at(64, 0.5), spatial_ref=crs("pan")), ("band", "y", "x"), "pan", pan_attrs
    )
    ms = xr.DataArray(
        PAIR["ms"].astype(dtype),
        dict(at(16, 2.0), band=["b", "g", "r", "n"], wavelength=("band", [1, 2, 3, 4]), spatial_ref=crs("ms")),
        ("band", "y", "x"),
        "reflectance",
        dict(units="1", transform=(2.0, 0), **ms_attrs),
    )
    return pan, ms.transpose(*order)


@pytest.mark.parametrize("order", [("band", "y", "x"), ("y", "x", "band")])
def test_coordinates_and_attributes(order):
    pan, ms = pair(order=order)
    ms.encoding = dict(_FillValue=0, source="ms.nc", chunksizes=(1, 8, 8))
    made = ssdiff.sharpen(pan, ms, **HOW)
    assert (
        isinstance(made, xr.DataArray) and made.dims == order and made.name == "reflectance" and made.dtype == np.uint16
    )
    assert (
        np.array_equal(made.x, pan.x)
        and np.array_equal(made.y, pan.y)
        and made.band.values.tolist() == ["b", "g", "r", "n"]
        and made.wavelength.dims == ("band",)
    )
    assert (
        made.attrs == dict(units="1")
        and made.encoding == dict(_FillValue=0)
        and made.spatial_ref.attrs["GeoTransform"] == "pan"
    )
    assert np.array_equal(made.transpose("band", "y", "x"), ssdiff.sharpen(PAIR["pan"], PAIR["ms"], **HOW))


@pytest.mark.parametrize(
    "dtype, none", [("uint16", 65535), ("uint16", 0), ("int16", -9999), ("float32", -9999.0), ("float32", np.nan)]
)
def test_fill_values(dtype, none):
    pan, ms = pair(dtype, ms_attrs=dict(_FillValue=none))
    ms = ms.copy(); ms[:, 3:5, 4:6] = none
    made = ssdiff.sharpen(pan, ms, **HOW)
    hole = np.isnan(made.values) if none != none else made.values == none
    assert hole[:, 12:20, 16:24].all() and hole.sum() == 4*64 and made.attrs["_FillValue"] is ms.attrs["_FillValue"]


def test_whole_numbers_with_a_hole_in_pan_name_a_fill_value():
    pan, ms = pair()
    made = ssdiff.sharpen(pan.where(pan.x > 3e5 + 4), ms, **HOW)
    assert made.attrs["_FillValue"] == 0 and not made[:, :, :8].any() and made[:, :, 9:].all()


def test_names_on_one_side_only():
    pan, ms = pair()
    assert type(ssdiff.sharpen(pan, PAIR["ms"], **HOW)) is np.ndarray
    made = ssdiff.sharpen(PAIR["pan"], ms, **HOW)
    np.testing.assert_allclose(made.x, pan.x); assert "GeoTransform" not in made.spatial_ref.attrs


def test_other_places_are_refused():
    pan, ms = pair()
    with pytest.raises(ValueError, match="coordinates 'x' of ms are not the middles"):
        ssdiff.sharpen(pan.assign_coords(x=pan.x + 1), ms, **HOW)
    with pytest.raises(TypeError, match="real numbers"): ssdiff.sharpen(pan, ms.astype(complex), **HOW)
