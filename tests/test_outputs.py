"""What is written: whole, ours, nobody else's, and at the right place; and what is said when it is not."""
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.rpc import RPC
from rasterio.vrt import WarpedVRT

import ssdiff
from holed import write_vrt
from ssdiff import writing
from ssdiff.command import main
from ssdiff.geotiff import write_tiff
from ssdiff.network import save
from ssdiff.scenes import simulate
from ssdiff.network import toy_network

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
]
GRID = Affine(.5, 0, 300_000, 0, -.5, 5_000_000)
PAIR = simulate("QB", 7, 32)
EXP = "pan.tif ms.tif out.tif --sensor QB --method EXP --quiet"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_tiff("pan.tif", PAIR["pan"], GRID); write_tiff("ms.tif", PAIR["ms"], GRID @ Affine.scale(4))
    return tmp_path


def names(): return sorted(os.listdir())


def refused(capfd, line, *words, code=2):
    "One line, and the folder as it was."
    before = {n: Path(n).read_bytes() for n in names() if Path(n).is_file()}
    assert main(line.split()) == code
    said = capfd.readouterr().err
    assert said.startswith("ssdiff-sharpen: ") and len(said.splitlines()) == 1 and all(w in said for w in words), said
    assert {n: Path(n).read_bytes() for n in names() if Path(n).is_file()} == before


# Whole and ours

@pytest.mark.parametrize("name", ["soft.tif", "hard.tif", "./x/../pan.tif", "ms.tif", "v.vrt.msk.tif"])
def test_no_input_is_ever_replaced(folder, capfd, name):
    os.mkdir("x")
    os.symlink("ms.tif", "soft.tif")
    os.link("pan.tif", "hard.tif")
    os.link("ms.tif", "v.vrt.msk.tif")
    write_vrt("v.vrt", "ms.tif", (32, 32), ["uint16"]*4, GRID @ Affine.scale(4))
    refused(
        capfd, f"pan.tif v.vrt {name} --sensor QB --method EXP --quiet --overwrite", "is one of the inputs"
    )  # ms.tif is what the VRT points to


@pytest.mark.parametrize(
    "line, words",
    [
        ("--samples 2 --uncertainty ./out.tif", "the result and its uncertainty are both"),
        ("--adapt 2 --keep-weights w.safetensors", "is one of the inputs"),
        ("--samples 2 --uncertainty pan.tif", "is one of the inputs"),
        ("--adapt 2 --keep-weights pan.tif", "is one of the inputs"),
        ("--adapt 2 --keep-weights w.tif", "ends with .safetensors"),
    ],
)
def test_results_do_not_replace_each_other_or_the_weights(folder, capfd, line, words):
    save(toy_network(), "w.safetensors")
    refused(capfd, f"pan.tif ms.tif out.tif --sensor QB --weights w.safetensors --quiet --overwrite {line}", words)


@pytest.mark.parametrize("name", ["-", "out.jp2", "out", "out.png", "out.vrt"])
def test_a_name_that_says_something_else(folder, capfd, name):
    refused(capfd, EXP.replace("out.tif", name), "ends with .tif or .tiff")


def test_sidecars_of_an_older_result_go(folder):
    assert main(EXP.split()) == 0
    with rasterio.Env(TIFF_USE_OVR="YES"), rasterio.open("out.tif", "r+") as d: d.build_overviews([2])
    for n in ("aux.xml", "msk"): Path(f"out.tif.{n}").write_text("old")
    write_tiff("pan.tif", PAIR["pan"][:, ::-1], GRID); write_tiff("ms.tif", PAIR["ms"][:, ::-1], GRID @ Affine.scale(4))
    assert main([*EXP.split(), "--overwrite"]) == 0 and names() == ["ms.tif", "out.tif", "pan.tif"]
    with rasterio.open("out.tif") as d:
        assert d.overviews(1)  # somebody wanted them
        with rasterio.open("out.tif", overview_level=0) as small:
            assert (
                abs(small.read(1)[:8, :8].astype(int) - d.read(1)[:16, :16].reshape(8, 2, 8, 2).mean((1, 3))).max() <= 1
            )


def test_a_link_stays_a_link(folder):
    Path("there").mkdir(); os.symlink("there/real.tif", "out.tif")
    assert (
        main([*EXP.split(), "--overwrite"]) == 0 and os.path.islink("out.tif") and os.listdir("there") == ["real.tif"]
    )


def slow(monkeypatch, meanwhile):
    "Do something while a file is being written."
    write = writing._write
    def slowly(*a): monkeypatch.setattr(writing, "_write", write); meanwhile(); write(*a)
    monkeypatch.setattr(writing, "_write", slowly)


def test_two_runs_that_may_overwrite(folder, capfd, monkeypatch):
    slow(
        monkeypatch,
        lambda: main(
            ["pan.tif", "ms.tif", "./out.tif", *"--sensor QB --method MTF-GLP-FS --quiet --overwrite".split()]
        ),
    )
    assert main([*EXP.split(), "--overwrite"]) == 0
    first, last = capfd.readouterr().out.split("out.tif: ")[1:]
    assert "another run is still writing" in first and "another run wrote out.tif in the meantime" in last
    with rasterio.open("out.tif") as d: assert d.tags()["SHARPENED_BY"] == "ssdiff EXP"
    assert names() == ["ms.tif", "out.tif", "pan.tif"]


def test_two_runs_that_may_not(folder, capfd, monkeypatch):
    codes = []
    slow(monkeypatch, lambda: codes.append(main(EXP.split())))
    assert main(EXP.split()) == 0 and codes == [2] and "another run is writing out.tif" in capfd.readouterr().err
    assert names() == ["ms.tif", "out.tif", "pan.tif"]


def test_a_file_that_appears_meanwhile_stays(folder, capfd, monkeypatch):
    slow(monkeypatch, lambda: Path("out.tif").write_text("somebody's"))
    assert (
        main(EXP.split()) == 2
        and "is left as it is" in capfd.readouterr().err
        and Path("out.tif").read_text() == "somebody's"
    )
    assert names() == ["ms.tif", "out.tif", "pan.tif"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_told_to_end_clears_up(folder, number):
    save(toy_network(), "w.safetensors"); before = names()
    line = "pan.tif ms.tif out.tif --sensor QB --weights w.safetensors --steps 500 --quiet".split()
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; from ssdiff.command import main; sys.exit(main())", *line],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # the tests, too, may run under nohup
    )
    for _ in range(600):
        if list(folder.glob(".out.tif.*.partial")): break
        time.sleep(.1)
    process.send_signal(number)
    assert (
        process.communicate()[1] == "ssdiff-sharpen: interrupted; nothing was written\n"
        and process.returncode == 128 + number
    )
    assert names() == before


# Places

def raw(name, image, points=None, rpcs=None):
    with rasterio.open(
        name, "w", driver="GTiff", count=len(image), height=image.shape[1], width=image.shape[2], dtype="uint16"
    ) as d:
        d.write(image)
        if points: d.gcps = points, CRS.from_epsg(4326)
        if rpcs: d.rpcs = rpcs


def points(k=1, east=0):
    return [GroundControlPoint(r * k, c * k, 12 + east + c / 1e5, 45 - r / 1e5) for r in (0, 128) for c in (0, 128)]


def camera(k=1, east=0):
    one, line, sample = [1.] + [0.]*19, [0., 0., 1.] + [0.]*17, [0., 1.] + [0.]*18
    return RPC(
        height_off=100.0,
        height_scale=500.0,
        lat_off=45.0,
        lat_scale=0.01,
        long_off=12.0 + east,
        long_scale=0.01,
        line_off=64 * k,
        line_scale=64 * k,
        samp_off=64 * k,
        samp_scale=64 * k,
        line_num_coeff=line,
        line_den_coeff=one,
        samp_num_coeff=sample,
        samp_den_coeff=one,
    )


def test_control_points_and_polynomials_alone(folder, capfd):
    raw("pan.tif", PAIR["pan"], points(), camera()); raw("ms.tif", PAIR["ms"], points(1/4), camera(1/4))
    assert main(EXP.split()) == 0
    said = capfd.readouterr()
    assert "their place by ground control points alone; taken as lying corner on corner" in said.out and said.err == ""
    with rasterio.open("out.tif") as d:
        assert (
            [(p.row, p.col, p.x, p.y) for p in d.gcps[0]] == [(p.row, p.col, p.x, p.y) for p in points()]
            and d.gcps[1].to_epsg() == 4326
            and d.rpcs.line_off == 64
        )


@pytest.mark.parametrize("how", [dict(points=points(1/4, 5)), dict(rpcs=camera(1/4, 5))], ids=["points", "RPCs"])
def test_contradictions_are_noticed(folder, capfd, how):
    raw("pan.tif", PAIR["pan"], points() if "points" in how else None, camera()); raw("ms.tif", PAIR["ms"], **how)
    refused(capfd, EXP, "pan and ms do not overlap")


def test_a_little_apart_is_a_note(folder, capfd):
    raw("pan.tif", PAIR["pan"], points()); raw("ms.tif", PAIR["ms"], points(1/4, 20/1e5))
    assert main(EXP.split()) == 0 and "lie up to 20 PAN pixels apart" in capfd.readouterr().out


def test_polynomials_go_along_with_what_is_cut_out(folder):
    write_tiff("ms.tif", PAIR["ms"][:, 8:, 3:], GRID @ Affine.translation(12, 32) @ Affine.scale(4))
    with rasterio.open("pan.tif", "r+") as d: d.rpcs = camera()
    assert main(EXP.split()) == 0
    with rasterio.open("out.tif") as d:
        assert (d.rpcs.line_off, d.rpcs.samp_off, d.rpcs.lat_off, d.shape) == (32, 52, 45, (96, 116))


def test_one_system_by_two_names(folder):
    write_tiff(
        "ms.tif",
        PAIR["ms"],
        GRID @ Affine.scale(4),
        crs=CRS.from_proj4("+proj=utm +zone=33 +datum=WGS84 +units=m +no_defs"),
    )
    assert main(EXP.split()) == 0


def test_pixels_are_points_if_pans_are(folder):
    for n, v in (("pan", "Point"), ("ms", "Area")):
        with rasterio.open(f"{n}.tif", "r+") as d: d.update_tags(AREA_OR_POINT=v)
    assert main(EXP.split()) == 0
    with rasterio.open("out.tif") as d, rasterio.open("pan.tif") as p:
        assert d.transform == p.transform and d.tags()["AREA_OR_POINT"] == "Point"


# Containers and other things to open

def test_containers_list_what_they_hold(folder, capfd):
    with h5py.File("c.h5", "w") as f: f["one"], f["two"] = PAIR["pan"][0], PAIR["ms"]
    refused(
        capfd,
        EXP.replace("pan.tif", "c.h5"),
        "pan c.h5 holds several images; name one of them: HDF5:",
        "//one",
        "//two",
    )
    refused(capfd, EXP.replace("ms.tif", "HDF5:c.h5://three"), "ms HDF5:c.h5://three cannot be read")


def test_open_datasets(folder):
    mask = np.full((32, 32), 255, np.uint8); mask[4:8, 4:8] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open("ms.tif", "r+") as d: d.write_mask(mask)
    plain, how = ssdiff.sharpen("pan.tif", "ms.tif", sensor="QB", method="EXP"), dict(sensor="QB", method="EXP")
    assert plain.mask.sum() == 4*16**2
    with (
        rasterio.open("ms.tif") as d,
        WarpedVRT(d, crs="EPSG:32633") as same,
        WarpedVRT(
            d,
            crs="EPSG:32633",
            transform=GRID @ Affine.scale(4) @ Affine.translation(0.25, 0),
            width=32,
            height=32,
            resampling=Resampling.cubic,
        ) as moved,
    ):
        assert np.array_equal(
            ssdiff.sharpen("pan.tif", same, **how).filled(), plain.filled()
        )  # with the mask that a WarpedVRT drops
        part = ssdiff.sharpen("pan.tif", moved, **how)
        assert 4 * 16**2 <= part.mask.sum() <= 4 * (16 * 20 + 4 * 128)  # and without the place outside
    with rasterio.MemoryFile(Path("ms.tif").read_bytes()) as f, f.open() as d:
        assert np.array_equal(ssdiff.sharpen("pan.tif", d, **how).filled(), plain.filled())
    with rasterio.open("pan.tif", "r+") as d: d.build_overviews([2])
    with (
        rasterio.open("pan.tif", overview_level=0) as d,
        pytest.raises(ValueError, match="cannot be opened again by its name"),
    ):
        ssdiff.sharpen(d, "ms.tif", **how)
    with rasterio.open("pan.tif", "r+") as d, pytest.raises(ValueError, match="open for writing"):
        ssdiff.sharpen(d, "ms.tif", **how)
    with open("pan.tif", "rb") as f, pytest.raises(TypeError, match="got a BufferedReader"):
        ssdiff.sharpen(f, "ms.tif", **how)


# Tags

def test_tags_of_any_name_and_domain(folder):
    odd = {"ns": "1", "bidx": "2", "self": "3", "key": "4", "ü ö": "5\n6"}
    with rasterio.open("ms.tif", "r+") as d:
        d.update_tags(
            0,
            None,
            **{f"{k} " if k in ("ns", "bidx") else k: v for k, v in odd.items()},
            STATISTICS_MEAN="7",
            statistics_max="8",
            NODATA_VALUES="0 0 0 0",
        )
        d.update_tags(ns="IMD", satId="QB02", NUMROWS="32")
        d.update_tags(2, ns="FILTER", name="green")
        d.update_tags(3, STATISTICS_MEAN="9", **{"bidx ": "10"})
    assert main(EXP.split()) == 0
    with rasterio.open("out.tif") as d:
        assert (
            {k: d.tags().get(k) for k in odd} == odd
            and d.tags(ns="IMD") == dict(satId="QB02", NUMROWS="32")
            and d.tags(2, ns="FILTER") == dict(name="green")
        )
        assert d.tags(3) == dict(bidx="10") and not {"STATISTICS_MEAN", "statistics_max", "NODATA_VALUES"} & set(
            d.tags()
        )


# Numbers

def test_negative_numbers_stay(folder):
    for dtype in ("int16", "float32"):
        write_tiff("pan.tif", PAIR["pan"].astype(dtype) - 300, GRID)
        write_tiff("ms.tif", PAIR["ms"].astype(dtype) - 300, GRID @ Affine.scale(4))
        low = ssdiff.sharpen("pan.tif", "ms.tif", sensor="QB", method="EXP").min()
        assert -300 <= low < -100


def test_no_value_is_beyond_the_full_scale(folder):
    rng = np.random.default_rng(0)
    dark = dict(pan=rng.integers(0, 1200, (1, 128, 128)).astype("f4"), ms=rng.integers(0, 3, (4, 32, 32)).astype("f4"))
    assert abs(ssdiff.sharpen(**dark, sensor="QB", method="BT-H")).max() <= 2047


@pytest.mark.parametrize("scale", [float("inf"), float("nan"), 0, -1, True, "2047"])
def test_full_scales_that_are_none(scale):
    with pytest.raises(ValueError, match="full_scale must be a positive number"):
        ssdiff.sharpen(PAIR["pan"], PAIR["ms"], sensor="QB", method="EXP", full_scale=scale)


def test_shares(folder, capfd):
    """The same HQNR as in digital numbers; a network is not given them without a word."""
    facts = []
    for k in (1, 2047):
        write_tiff("pan.tif", (PAIR["pan"] / k).astype("f4"), GRID)
        write_tiff("ms.tif", (PAIR["ms"] / k).astype("f4"), GRID @ Affine.scale(4))
        assert main([*EXP.replace("EXP", "MTF-GLP-FS").split(), "--overwrite"]) == 0
        facts.append(float(capfd.readouterr().out.split("HQNR ")[1].split()[0]))
    assert abs(facts[0] - facts[1]) < .005
    os.unlink("out.tif"); save(toy_network(), "w.safetensors")
    refused(
        capfd,
        "pan.tif ms.tif out.tif --sensor QB --weights w.safetensors --quiet",
        "these are shares, not digital numbers of QB; say so (--full-scale 1)",
    )
    assert main("pan.tif ms.tif out.tif --sensor QB --weights w.safetensors --full-scale 1 --quiet".split()) == 0


def test_a_value_that_nobody_called_nodata(folder, capfd):
    write_tiff(
        "ms.tif", np.where(PAIR["ms"] > np.median(PAIR["ms"]), -9999, PAIR["ms"]).astype("i2"), GRID @ Affine.scale(4)
    )
    refused(capfd, EXP, "the smallest value is -9999 (in ms)", "gdal_edit.py -a_nodata -9999")


# Messages


@pytest.mark.parametrize(
    "crs, place, words",
    [
        (
            None,
            GRID @ Affine.scale(4),
            ("ms ms.tif does not say in which coordinate system it is", "gdal_edit.py -a_srs EPSG:32633"),
        ),
        (
            "EPSG:32633",
            Affine.identity(),
            ("ms ms.tif says nothing about its place but the other has a GeoTransform", "gdal_edit.py -a_ullr"),
        ),
    ],
)
def test_the_cause_that_is_there(folder, capfd, crs, place, words):
    write_tiff("ms.tif", PAIR["ms"], place, crs=crs); refused(capfd, EXP, *words)


# What cannot be measured


@pytest.mark.parametrize(
    "spoil",
    [lambda m: m.__setitem__(3, 0), lambda m: m.__setitem__(3, 500), lambda m: m.__setitem__(slice(None), 500)],
    ids=["dead band", "constant band", "flat scene"],
)
def test_a_run_does_not_die_of_its_extras(folder, capfd, monkeypatch, spoil):
    """Without a wish, adapting is left out with a note, and so is HQNR; with one, the error says which bands."""
    pair = simulate("QB", 7, 128)
    spoil(pair["ms"])
    monkeypatch.setattr("ssdiff.catalogue.find_weights", lambda *a: Path("w.safetensors"))
    save(toy_network(), "w.safetensors")
    write_tiff("pan.tif", pair["pan"], GRID); write_tiff("ms.tif", pair["ms"], GRID @ Affine.scale(4))
    line = "pan.tif ms.tif out.tif --sensor QB --quiet".split()
    assert main(line) == 0
    said = capfd.readouterr().out
    assert (
        "the network was not adapted to the scene" in said
        and "one value is all there is of" in said
        and "nir" in said
        and "HQNR unknown" in said
    )
    os.unlink("out.tif"); refused(capfd, " ".join([*line, "--adapt", "3"]), "one value is all there is of", "nir")
