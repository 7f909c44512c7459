"""Cloud-optimised files and STAC items, as independent readers see them."""
import hashlib
import json
from importlib.resources import files

import numpy as np
import pytest
import rasterio
from affine import Affine

from ssdiff.command import main, sharpen
from ssdiff.geotiff import write_tiff
from ssdiff.scenes import simulate

pytestmark = pytest.mark.usefixtures("one_thread")
GRID = Affine(.6, 0, 500_000, 0, -.6, 5_400_000)
PAIR = {k: np.tile(x, (1, 3, 3)) for k, x in simulate("QB", 7, 64).items()}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_tiff("pan.tif", PAIR["pan"], GRID)
    write_tiff("ms.tif", PAIR["ms"], GRID @ Affine.scale(4), nodata=0)
    return tmp_path


LINE = ["pan.tif", "ms.tif", "out.tif", "--sensor", "QB", "--quiet"]


def test_a_cog_is_one_for_an_independent_reader_and_has_the_same_pixels(folder):
    cogeo = pytest.importorskip("rio_cogeo", reason="rio-cogeo is not installed")
    assert main([*LINE, "--method", "BT-H", "--cog"]) == 0
    valid, errors, warnings = cogeo.cog_validate("out.tif", strict=True)
    assert valid and not errors and not warnings
    plain = sharpen("pan.tif", "ms.tif", "plain.tif", sensor="QB", method="BT-H")
    with rasterio.open("out.tif") as a, rasterio.open("plain.tif") as b:
        assert (a.read() == b.read()).all() and a.tags()["SHARPENED_BY"] == b.tags()["SHARPENED_BY"]
        assert (a.crs, a.transform, a.nodata, a.descriptions) == (b.crs, b.transform, b.nodata, b.descriptions)
    assert plain.hqnr and sorted(f.name for f in folder.iterdir()) == ["ms.tif", "out.tif", "pan.tif", "plain.tif"]


def test_an_item_is_read_by_pystac_and_tells_the_truth(folder):
    write_tiff("pan.tif", PAIR["pan"][:, :128, :128], GRID)
    write_tiff("ms.tif", PAIR["ms"][:, :32, :32], GRID @ Affine.scale(4))
    pystac = pytest.importorskip("pystac", reason="pystac is not installed")
    spread = ["--samples", "2", "--uncertainty", "u.tif", "--steps", "1", "--adapt", "0"]
    assert main([*LINE, *spread, "--cog", "--stac"]) == 0
    item = pystac.Item.from_file("out.json")
    assert item.id == "out" and item.datetime and not item.links[1:]
    about = item.properties
    weights = (files("ssdiff")/"weights/4bands.safetensors").read_bytes()
    assert about["ssdiff:weights"] == dict(file="4bands.safetensors", sha256=hashlib.sha256(weights).hexdigest())
    assert about["ssdiff:method"].startswith("SSDiff") and about["ssdiff:inputs"] == ["pan.tif", "ms.tif"]
    image = item.assets["image"]
    assert image.extra_fields["file:checksum"] == "1220" + hashlib.sha256((folder/"out.tif").read_bytes()).hexdigest()
    assert image.href == "./out.tif" and image.media_type == pystac.MediaType.COG
    with rasterio.open("u.tif") as d: assert d.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"


def test_nothing_is_replaced_or_left_half_done(folder, capfd):
    (folder/"out.json").write_text("mine")
    assert main([*LINE, "--method", "EXP", "--stac"]) == 2
    assert "out.json exists already" in capfd.readouterr().err and not (folder/"out.tif").exists()
    assert main([*LINE, "--method", "EXP", "--stac", "--overwrite"]) == 0
    assert json.loads((folder/"out.json").read_text())["assets"]["image"]["type"] == "image/tiff; application=geotiff"


def test_a_disk_that_fills_up_while_it_is_rewritten_leaves_nothing(folder, capfd, monkeypatch):
    import ssdiff.products
    def full(*args, **how): raise rasterio.errors.RasterioIOError("no space left")
    monkeypatch.setattr(ssdiff.products, "copy", full)
    assert main([*LINE, "--method", "EXP", "--cog", "--stac"]) == 2
    assert "is the disk full?" in capfd.readouterr().err
    assert sorted(f.name for f in folder.iterdir()) == ["ms.tif", "pan.tif"]
