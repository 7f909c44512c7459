"""Files that lie: the answer is one error that names the file, nothing runs, nothing is allocated in vain."""
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from safetensors.torch import save as pack

import ssdiff
from ssdiff import baselines
from ssdiff.command import main
from ssdiff.checking import check_file
from ssdiff.data import PanData
from ssdiff.files import read_weights
from ssdiff.geotiff import write_tiff
from ssdiff.network import SSDiff, save
from ssdiff.checkpoints import load_checkpoint, save_checkpoint
from training_runs import outcome, trainer

pytestmark = pytest.mark.usefixtures("one_thread")


def peak():
    "Gigabytes this process has needed at most; 0 where Linux does not say."
    status = Path("/proc/self/status")
    return int(status.read_text().split("VmHWM:")[1].split()[0])/1e6 if status.exists() else 0

@pytest.fixture(autouse=True)
def modest():
    "No test of this file may need half a gigabyte more than was needed before."
    before = peak()
    yield
    assert peak() < before + .5


# HDF5

SMALL = dict(ms=(2, 8, 4, 4), lms=(2, 8, 16, 16), pan=(2, 1, 16, 16))

def hdf5(path, lms=None, shapes=SMALL, fill=700, **how):
    "A file as it should be, but for what `lms(f)` does."
    with h5py.File(path, "w") as f:
        for k, shape in shapes.items():
            values = {} if fill is None else dict(data=np.full(shape, float(fill)))
            if k == "lms" and lms: lms(f)
            else: f.create_dataset(k, shape, "f8", **values, **how)
    return path

def refused(path, *words):
    for read in (lambda: check_file(path, "WV3", "full"), lambda: PanData(path, "WV3")):
        with pytest.raises(ValueError) as e: read()
        assert str(e.value).startswith(f"{path}: ") and len(str(e.value)) < 1000
        for w in words: assert w in str(e.value), str(e.value)

def dataset(*what, shape=SMALL["lms"], **how): return lambda f: f.create_dataset("lms", shape, *what, **how)
def item(make): return lambda f: f.__setitem__("lms", make(f))
def odd_type(t): return lambda f: h5py.h5d.create(f.id, b"lms", t, h5py.h5s.create_simple(SMALL["lms"]))
def half_filled(f):
    chunked = f.create_dataset("lms", SMALL["lms"], "f8", chunks=(1, 8, 16, 16))
    chunked.write_direct(np.ones((1, 8, 16, 16)), dest_sel=np.s_[:1])

@pytest.mark.parametrize("make, words", [
    (dataset(h5py.vlen_dtype(float)), "real numbers"),
    (dataset(np.dtype([("a", "f8")])), "real numbers"),
    (dataset(h5py.string_dtype()), "real numbers"),
    (dataset(h5py.ref_dtype), "real numbers"),
    (dataset("c16"), "real numbers"),
    (dataset("?"), "real numbers"),
    (odd_type(h5py.h5t.UNIX_D32LE), "cannot be read"),
    (item(lambda f: h5py.Empty("f8")), "non-empty"),
    (item(lambda f: np.dtype("f8")), "found a datatype"),
    (item(lambda f: f["/"]), "found a group"),
    (item(lambda f: h5py.SoftLink("/lms")), "'lms'"),
    (dataset("f8", shape=(2, 8, 0, 16)), "non-empty"),
    (dataset("f8", shape=(16, 16)), "non-empty"),
    (dataset("f8"), "ever filled"),
    (half_filled, "ever filled"),
    (dataset("i4", data=np.ones(SMALL["lms"]), scaleoffset=0), "found filter 6"),
])
def test_no_odd_dataset_passes(tmp_path, make, words):
    named = [] if words == "cannot be read" else ["lms"]
    refused(hdf5(tmp_path/"x.h5", make), *named, words)

@pytest.mark.parametrize("shapes", [
    dict(ms=(1, 8, 10**5, 10**5), lms=(1, 8, 4*10**5, 4*10**5), pan=(1, 1, 4*10**5, 4*10**5)),
    dict(ms=(10**9, 8, 4, 4), lms=(10**9, 8, 16, 16), pan=(10**9, 1, 16, 16)),
])
@pytest.mark.parametrize("how", [{}, dict(chunks=(1, 1, 4, 4)), dict(chunks=(1, 1, 4, 4), compression="gzip")])
def test_a_declared_shape_costs_nothing(tmp_path, shapes, how):
    refused(hdf5(tmp_path/"x.h5", shapes=shapes, fill=None, **how), "'ms'")

def test_what_is_packed_unpacks_in_parts(tmp_path):
    "Two samples of 256 MB each, half a megabyte on the disk."
    side = 2048
    shapes = dict(ms=(2, 8, side//4, side//4), lms=(2, 8, side, side), pan=(2, 1, side, side))
    with h5py.File(tmp_path/"x.h5", "w") as f:
        for k, shape in shapes.items():
            packed = f.create_dataset(k, shape, "f4", chunks=(1, 1, *shape[2:]), compression="gzip")
            packed[0, 0] = 700
    refused(tmp_path/"x.h5", "found", "in the file")

def test_thousands_of_names_make_no_long_message(tmp_path):
    with h5py.File(tmp_path/"x.h5", "w") as f:
        for i in range(2000): f.create_group(f"{i:050d}")
    refused(tmp_path/"x.h5", "'ms' missing")

DAMAGED = """
import random, sys
from pathlib import Path
from ssdiff.checking import check_file
from ssdiff.data import PanData
path, whole = Path(sys.argv[1]), Path(sys.argv[1]).read_bytes()
for seed in range(int(sys.argv[2])):
    r, x = random.Random(seed), bytearray(whole)
    for _ in range(r.choice([1, 2, 8])): x[r.randrange(r.choice([3000, len(x)]))] = r.randrange(256)
    path.write_bytes(x[:r.randrange(len(x)) if r.random() < .1 else None])
    try:
        check_file(path, "WV3", "full")
        for i in (0, 1): PanData(path, "WV3")[i]
    except ValueError as e: assert str(e).startswith(f"{path}: "), (seed, e)
"""

def test_damage_at_any_place_is_one_error(tmp_path):
    "In a process of its own: HDF5 is C. 20 000 seeds have been tried."
    hdf5(tmp_path/"x.h5")
    seeds = os.environ.get("EXAMPLES", "1") + "00"
    command = [sys.executable, "-c", DAMAGED, str(tmp_path/"x.h5"), seeds]
    done = subprocess.run(command, capture_output=True, text=True)
    assert not done.returncode, done.stderr[-2000:]

def test_a_file_that_shrinks_while_it_is_open(tmp_path):
    path = hdf5(tmp_path/"x.h5", shapes={k: (200, *s[1:]) for k, s in SMALL.items()}, chunks=True)
    data = PanData(path, "WV3")
    data[0]
    os.truncate(path, 20_000)
    with pytest.raises(ValueError, match="x.h5: .*cannot be read"): [data[i] for i in range(200)]

def test_a_file_that_vanishes_before_it_is_read(tmp_path):
    data = PanData(path := hdf5(tmp_path/"x.h5"), "WV3")
    path.unlink()
    with pytest.raises(FileNotFoundError, match="x.h5: no such file"): data[0]
    hdf5(path)
    assert len(data[0]) == 3                                   # it is back


# Weights

X = dict(a=torch.ones(2))
def header(meta, tensors=X): return pack(tensors, dict(header=json.dumps(dict(meta, format="ssdiff", version="1"))))
def raw(info, data=b""):
    text = json.dumps(info).encode()
    return struct.pack("<Q", len(text)) + text + data
def number(**k): return {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **k}
def one(**k): return raw({"a": number(**k)}, b"\0"*4)
def network(name, **options): return header(dict(network=name, bands=options.pop("bands", 4), options=options))

LIES = dict(
    nothing=b"",
    pickle=b"\x80\x04cos\nsystem\n(S'touch ran'\ntR.",
    length=struct.pack("<Q", 2**62) + b"{}",
    longer=struct.pack("<Q", 10**8) + b"{}",
    elements=one(shape=[10**9, 10**9]),
    overflow=one(shape=[2**63, 2]),
    negative=one(shape=[-1]),
    beyond=one(shape=[10], data_offsets=[0, 40]),
    kind=one(dtype="X9"),
    twice=raw({k: number() for k in "ab"}, b"\0"*4),
    no_header=pack(X),
    a_list=pack(X, dict(header="[1]")),
    deep=pack(X, dict(header="["*10**5)),
    half=pack(X, dict(header="{")),
    digits=pack(X, dict(header="9"*10**5)),
    million_bands=network("PNN", bands=10**6),
    many_bands=network("PNN", bands=10**5),
    wide=network("CTINN", features=10**5),
    long=network("PanDiff", steps=10**12),
    wider=network("PanDiff", width=10**5),
    negative_width=network("PanDiff", width=-8),
    nested=network("PanDiff", width=[1]),
    no_number=network("PanDiff", scale=float("nan")),
    foreign=network("PNN", device="cuda"),
    unknown=network("../../os"),
    listed=network(["PNN"]),
    nameless=network(None),
    worded=network("PNN", bands="4"),
    no_options=header(dict(network="PNN", bands=4)),
    odd_options=header(dict(network="PNN", bands=4, options=[1])),
    other=network("PNN"),
)

@pytest.mark.parametrize("name", LIES)
def test_weights_that_lie_are_one_error(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (path := Path("w.safetensors")).write_bytes(LIES[name])
    with pytest.raises(ValueError, match="w.safetensors"): ssdiff.load(path)
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]

@pytest.fixture
def honest(tmp_path):
    "Path, tensors and header of a file of weights as it should be."
    save(SSDiff(4, window=8), path := tmp_path/"w.safetensors")
    return path, *read_weights(path)

@pytest.mark.parametrize("change", [
    dict(bands=512), dict(bands=5), dict(bands=True), dict(window=2**20), dict(window=-4), dict(scale=float("nan")),
    dict(scale="1"), dict(steps=10**9), dict(steps=10.), dict(variant="V9"), dict(variant=[1]), dict(fmim=1),
    dict(normalise="x"), dict(normalise=None), dict(network="ssdiff"), dict(schedule={}),
])
def test_a_header_that_does_not_describe_its_network(honest, change):
    path, tensors, meta = honest
    path.write_bytes(header({**meta, **change}, tensors))
    with pytest.raises(ValueError, match="w.safetensors"): ssdiff.load(path)

@pytest.mark.parametrize("change", [
    lambda t, k: t.pop(k),
    lambda t, k: t.update(more=t[k].clone()),
    lambda t, k: t.update({k: t[k].double()}),
    lambda t, k: t.update({k: t[k]/0}),
    lambda t, k: t.update({k: t[k][..., None]}),
    lambda t, k: t.update({k: t[k].bfloat16()}),
])
def test_tensors_that_are_missing_or_wrong(honest, change):
    path, tensors, meta = honest
    change(tensors, "head.2.bias")
    path.write_bytes(header(meta, tensors))
    with pytest.raises(ValueError, match="w.safetensors"): ssdiff.load(path)

def test_a_file_of_holes_is_not_filled(tmp_path):
    "40 GB that exist as a length only, in half precision that would have to be doubled."
    says = json.dumps(dict(network="PNN", bands=4, options={}, format="ssdiff", version="1"))
    holes = dict(dtype="F16", shape=[20*10**9], data_offsets=[0, 40*10**9])
    text = raw({"__metadata__": {"header": says}, "a": holes})
    (path := tmp_path/"w.safetensors").write_bytes(text)
    os.truncate(path, len(text) + 40*10**9)
    with pytest.raises(ValueError, match="does not fit its header|not a readable safetensors file"): ssdiff.load(path)

class Evil:
    def __reduce__(self): return os.mkdir, ("ran",)
    def __repr__(self): return "Evil()"  # the same in every process that collects the tests

@pytest.mark.parametrize("what", [
    Evil(), dict(state_dict=Evil()), {"features.weight": Evil()},
    [1], torch.ones(2), {}, {1: torch.ones(2)}, {"a": "b"},
], ids=repr)
def test_published_weights_run_nothing(tmp_path, monkeypatch, what):
    monkeypatch.chdir(tmp_path)
    torch.save(what, "w.pth")
    with pytest.raises(ValueError, match="w.pth"): baselines.load_published(baselines.create("PNN", 4), "w.pth")
    assert [p.name for p in tmp_path.iterdir()] == ["w.pth"]

@pytest.mark.parametrize("name", baselines.names())
def test_honest_weights_of_every_network_load(tmp_path, name):
    torch.manual_seed(0)
    net = baselines.create(name, 4)
    baselines.save(net, tmp_path/"w.safetensors", sensor="QB")
    again = ssdiff.load(tmp_path/"w.safetensors").state_dict()
    assert all(torch.equal(v, again[k]) and v.dtype == again[k].dtype for k, v in net.state_dict().items())


# Checkpoints

@pytest.fixture(scope="module")
def whole():
    t = trainer(iterations=4)
    return outcome(t, t.fit(progress=False))

def without(d, key): return {k: v for k, v in d.items() if k != key}
def renamed(tensors, k, new): return {(new if n == k else n): v for n, v in tensors.items()}
MEAN, MOMENT = "mean:module.head.2.bias", "optimizer:head.2.bias|exp_avg"

@pytest.mark.parametrize("spoil", [
    lambda t, h: (without(t, "net:head.2.bias"), h),
    lambda t, h: ({**t, "net:head.2.bias": torch.ones(99)}, h),
    lambda t, h: ({**t, MEAN: t[MEAN].double()}, h),
    lambda t, h: (renamed(t, MOMENT, "optimizer:nobody|exp_avg"), h),
    lambda t, h: (t, without(h, "seconds")),
    lambda t, h: (t, {**h, "history": 3}),
    lambda t, h: (t, {**h, "iteration": "2"}),
    lambda t, h: (t, [1]),
    lambda t, h: (t, 7),
])
def test_a_damaged_checkpoint_starts_anew(tmp_path, whole, spoil):
    path = tmp_path/"c.safetensors"
    trainer(iterations=4, checkpoint=path).fit(stop=2, progress=False)
    save_checkpoint(path, *spoil(*load_checkpoint(path)))
    t = trainer(iterations=4, checkpoint=path)
    with pytest.warns(UserWarning, match="c.safetensors .*starts anew"): mean = t.fit(progress=False)
    made = outcome(t, mean)
    assert all(torch.equal(v, made[k]) for k, v in whole.items())

def test_a_folder_is_no_checkpoint(tmp_path):
    with pytest.warns(UserWarning, match="no readable checkpoint"): assert load_checkpoint(tmp_path) == (None, None)


# GeoTIFF

GRID, NAN, INF = Affine(.5, 0, 300_000, 0, -.5, 5_000_000), float("nan"), float("inf")
PLACES = dict(
    nan=Affine(NAN, 0, 3e5, 0, -.5, 5e6),
    infinite=Affine(INF, 0, 3e5, 0, -.5, 5e6),
    nowhere=Affine(.5, 0, NAN, 0, -.5, 5e6),
    no_size=Affine(0, 0, 3e5, 0, 0, 5e6),
    flat=Affine(.5, 0, 3e5, 0, 0, 5e6),
    tiny=Affine(1e-300, 0, 3e5, 0, -1e-300, 5e6),
    giant=Affine(1e300, 0, 3e5, 0, -1e300, 5e6),
    singular=Affine(.5, .5, 3e5, .5, .5, 5e6),
    far=Affine(.5, 0, 1e300, 0, -.5, 5e6),
)

@pytest.fixture
def pair(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    shapes = dict(pan=(1, 64, 64), ms=(4, 16, 16))
    images = {k: rng.integers(1, 2000, shape).astype("u2") for k, shape in shapes.items()}
    def write(pan=GRID, ms=GRID @ Affine.scale(4)):
        write_tiff("pan.tif", images["pan"], pan)
        write_tiff("ms.tif", images["ms"], ms)
    write()
    return write

def says(capfd, *words):
    "The command fails with one line, and writes nothing."
    before = set(os.listdir())
    assert main("pan.tif ms.tif out.tif --sensor QB --method EXP --quiet".split()) == 2
    said = capfd.readouterr().err
    assert said.startswith("ssdiff-sharpen: ") and len(said.splitlines()) == 1 and len(said) < 1000, said
    assert set(os.listdir()) == before, said
    assert any(w in said for w in words), said

@pytest.mark.parametrize("which", ["pan", "ms", "both"])
@pytest.mark.parametrize("place", sorted(set(PLACES) - {"far"}))
def test_pixels_that_lie_nowhere(pair, capfd, place, which):
    coarse = PLACES[place] @ Affine.scale(4)
    pair(**{"pan": dict(pan=PLACES[place]), "ms": dict(ms=coarse), "both": dict(pan=PLACES[place], ms=coarse)}[which])
    says(capfd, "its pixels lie nowhere", "it has to be 4 x 4")

def test_images_at_the_end_of_the_world(pair, capfd):
    pair(ms=PLACES["far"] @ Affine.scale(4))
    says(capfd, "do not overlap")

def declared(path, count, side, transform, **layout):
    "A file that declares an image and holds none of it."
    profile = dict(driver="GTiff", count=count, height=side, width=side, dtype="uint16", transform=transform)
    with rasterio.open(path, "w", **profile, crs="EPSG:32633", sparse_ok=True, BIGTIFF="YES", **layout): pass

def test_a_declared_size_is_checked_before_anything_is_read(pair, capfd):
    tiles = dict(tiled=True, blockxsize=4096, blockysize=4096)
    declared("pan.tif", 1, 10**6, GRID, **tiles)
    declared("ms.tif", 4, 250_000, GRID @ Affine.scale(4), **tiles)
    says(capfd, "the result needs up to 8000.00 GB")

def test_one_block_of_everything(pair, capfd):
    declared("pan.tif", 1, 16_000, GRID, blockysize=16_000, compress="deflate")
    says(capfd, "blocks of 16000x16000 pixels")

def tags(path, width, height, rows, bits=16, bands=1, length=2000):
    "A TIFF by hand: a strip of 2000 bytes, whatever the tags say."
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, bits), (259, 3, 1, 1), (262, 3, 1, 1),
               (273, 4, 1, 200), (277, 3, 1, bands), (278, 4, 1, rows), (279, 4, 1, length), (339, 3, 1, 1)]
    head = struct.pack("<2sHI", b"II", 42, 8) + struct.pack("<H", len(entries))
    directory = b"".join(struct.pack("<HHII", *e) for e in entries) + bytes(4)
    Path(path).write_bytes((head + directory).ljust(200, b"\0") + b"\1"*2000)

@pytest.mark.parametrize("absurd", [
    dict(width=2**31 - 1, height=2**31 - 1, rows=2**31 - 1),
    dict(width=2**32 - 1, height=2**32 - 1, rows=1),
    dict(width=0, height=0, rows=1),
    dict(width=64, height=64, rows=0),
    dict(width=64, height=64, rows=64, bands=65535),
    dict(width=64, height=64, rows=64, bits=0),
    dict(width=64, height=64, rows=64, bits=255),
    dict(width=64, height=64, rows=64),
    dict(width=300, height=64, rows=64, length=2**32 - 1),
])
def test_absurd_tags(pair, capfd, absurd):
    tags("pan.tif", **absurd)
    says(capfd, "pan.tif", "bring one to the other")

def test_gdal_adds_no_word_of_its_own(pair):
    "In a process of its own: what was opened before decides whether GDAL is heard."
    tags("pan.tif", width=64, height=64, rows=64)
    code = "import sys; from ssdiff.command import main; sys.exit(main())"
    line = "pan.tif ms.tif out.tif --sensor QB --method EXP --quiet".split()
    said = subprocess.run([sys.executable, "-c", code, *line], capture_output=True, text=True).stderr
    assert said.startswith("ssdiff-sharpen: pan pan.tif") and len(said.splitlines()) == 1, said

SIGNPOSTS = dict(
    file='<VRTDataset rasterXSize="64" rasterYSize="64"><VRTRasterBand dataType="UInt16" band="1"><SimpleSource>'
         '<SourceFilename>secret.tif</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>',
    code='\ufeff\n<VRTDataset rasterXSize="64" rasterYSize="64">'
         '<VRTRasterBand dataType="Byte" band="1" subClass="VRTDerivedRasterBand">'
         '<PixelFunctionType>f</PixelFunctionType><PixelFunctionLanguage>Python</PixelFunctionLanguage>'
         '</VRTRasterBand></VRTDataset>',
    address='<GDAL_WMS><Service name="TMS">'
            '<ServerUrl>http://127.0.0.1:9/${z}/${x}/${y}.png</ServerUrl></Service></GDAL_WMS>',
    shapes='{"type": "FeatureCollection", "features": []}',
)

@pytest.mark.parametrize("name", SIGNPOSTS)
def test_an_image_that_is_a_signpost(pair, capfd, name):
    Path("pan.tif").write_text(SIGNPOSTS[name])
    says(capfd, "is no image but a text that points to other files or addresses")

DAMAGED_TIFF = """
import contextlib, io, os, random, sys
from pathlib import Path
from ssdiff.command import main
whole = {n: Path(n).read_bytes() for n in ("pan.tif", "ms.tif")}
command = "pan.tif ms.tif out.tif --sensor QB --method EXP --quiet --overwrite".split()
for seed in range(int(sys.argv[1])):
    r, said = random.Random(seed), io.StringIO()
    for name, content in whole.items():
        x = bytearray(content)
        for _ in range(r.choice([0, 1, 2, 8])): x[r.randrange(r.choice([20, 600, len(x)]))] = r.randrange(256)
        Path(name).write_bytes(x[:r.randrange(len(x)) if r.random() < .1 else None])
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()): code = main(command)
    assert code in (0, 2) and len(said.getvalue().splitlines()) == code//2, (seed, said.getvalue())
    assert {p for p in os.listdir() if "aux" not in p} - {"out.tif"} == {"pan.tif", "ms.tif"}, (seed, os.listdir())
"""

def test_damaged_images_are_one_line(pair):
    command = [sys.executable, "-c", DAMAGED_TIFF, os.environ.get("EXAMPLES", "1") + "0"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert not done.returncode, done.stderr[-2000:]
