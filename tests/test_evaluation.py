"Methods, sharpening and scoring on small images."
from fnmatch import fnmatch
from pathlib import Path
import nbformat, numpy as np, pytest, ssdiff, torch
from ssdiff.baselines import create, entries
from ssdiff.classical import METHODS
from ssdiff.evaluation import fuse_all, save_scores, score_all, timed
from ssdiff.catalogue import get_method
from ssdiff.methods import network_method
from ssdiff.network import save, SSDiff, toy_network
from ssdiff.study import tiny_results

pytestmark = pytest.mark.usefixtures("one_thread")

class Images:
    "n times the same QB image of side 96 with its truth, in units of the full scale"
    def __init__(self, n): self.n = n
    def __len__(self): return self.n
    def __getitem__(self, i):
        gt = torch.rand(4, 96, 96, generator=torch.Generator().manual_seed(0)) * .8 + .1
        return dict(gt=gt, lms=gt * .9, ms=gt[:, ::4, ::4].contiguous(), pan=gt.mean(0, keepdim=True))

def rough(net):
    "A new network with weights that let its noise be seen"
    torch.manual_seed(0)
    for p in net.parameters(): torch.nn.init.normal_(p, 0, .05)
    return net

RANDOM = {"SSDiff": lambda: SSDiff(4, window=32), "PanDiff": lambda: create("PanDiff", 4, width=8)}

@pytest.mark.parametrize("name", RANDOM)
def test_the_noise_belongs_to_the_images_number(name):
    method = network_method(rough(RANDOM[name]()), "QB", steps=1, seed=4)
    three, one = (fuse_all(method, Images(n), "QB", progress=False) for n in (3, 1))
    assert (three[0] == one[0]).all() and (three[0] != three[1]).any() and (three[1] != three[2]).any()

@pytest.mark.parametrize("name", [k for k, m in entries().items() if not m.diffusion])
def test_a_network_that_draws_nothing_treats_equal_images_alike(name):
    two = fuse_all(network_method(create(name, 4), "QB"), Images(2), "QB", progress=False)
    assert two.shape == (2, 4, 96, 96) and two.dtype == np.float32
    assert (two[0] == two[1]).all() and 0 <= two.min() and two.max() <= 2047

@pytest.mark.parametrize("name", METHODS)
def test_scores_are_the_same_bytes_with_or_without_a_watch(name, tmp_path):
    seconds, data = [], Images(2)
    for folder, method in dict(a=get_method(name, "QB"), b=timed(get_method(name, "QB"), seconds)).items():
        save_scores(tmp_path/folder/f"{name}.csv", score_all(fuse_all(method, data, "QB", progress=False), data, "QB"))
    assert len(seconds) == 2 and (tmp_path/f"a/{name}.csv").read_bytes() == (tmp_path/f"b/{name}.csv").read_bytes()
    assert (tmp_path/f"a/{name}.csv").read_text().startswith("image,Q,SAM,ERGAS,SCC,Q2n\n0,")

def test_another_form_of_ssdiff_is_the_mean_of_samples_with_seeds_of_their_own(tmp_path):
    "As the stage that evaluates makes it; its cell is carried out as it stands."
    (tmp_path/"weights/QB").mkdir(parents=True)
    save(toy_network(), tmp_path/"weights/QB/SSDiff.safetensors")
    page = nbformat.read(Path(__file__).parents[1]/"nbs/study/05_evaluate.ipynb", as_version=4)
    known = dict(results=tmp_path, sensor="QB", trained="QB", leave_out=[], device="cpu", seed=3, steps=1,
                 sampler="ddim", eta=0., sampling={}, forms={"SSDiff-mean": dict(steps=2, samples=2)}, METHODS={},
                 fnmatch=fnmatch, np=np, ssdiff=ssdiff, get_method=get_method, network_method=network_method)
    cell = next(c.source for c in page.cells if "def form(" in c.source)
    exec(cell, without := known | dict(trained="GF2"))
    assert not without["methods"]  # forms wait for SSDiff
    exec(cell, known)
    assert list(known["methods"]) == ["SSDiff", "SSDiff-mean"]
    mean, *each = (fuse_all(m, Images(1), "QB", progress=False) for m in (known["methods"]["SSDiff-mean"], *(
        network_method(known["nets"]["SSDiff"], "QB", steps=2, sampler="ddim", eta=0., seed=s) for s in (3, 4))))
    assert (each[0] != each[1]).any() and np.abs(mean - np.mean(each, 0)).max() < .01

def test_a_stopped_evaluation_goes_on_and_takes_nothing_of_other_weights(monkeypatch):
    "As the stage that evaluates keeps it; its cells are carried out as they stand."
    results, asked, restore = tiny_results("QB", ["SSDiff"]), [], SSDiff.restore  # two test images
    page = nbformat.read(Path(__file__).parents[1]/"nbs/study/05_evaluate.ipynb", as_version=4)
    first, *cells = [c.source for c in page.cells if c.cell_type == "code"][:5]   # up to reduced resolution

    def evaluate(stop=None):
        def watched(*images, **options):
            asked.append(images)
            if len(asked) == stop: raise KeyboardInterrupt
            return restore(*images, **options)
        asked.clear()
        monkeypatch.setattr(SSDiff, "restore", watched)
        exec(first, known := {})
        two = {"SSDiff-two": dict(steps=2, samples=1)}
        known.update(sensor="QB", trained="QB", results=results, threads=1, forms=two)
        exec("\n".join(cells), known)
        return known["done"]

    with pytest.raises(KeyboardInterrupt): evaluate(stop=4)  # the second image of the second row
    evaluate()
    assert len(asked) == 2                                   # that row alone
    before = evaluate()
    assert not asked
    net = rough(SSDiff(4, window=32))
    save(net, results/"weights/QB/SSDiff.safetensors", sensor="QB", full_scale=2047, scale=.05)
    after = evaluate()
    assert len(asked) == 4
    assert all(before[k].scores.SAM[0] != after[k].scores.SAM[0] for k in ("SSDiff", "SSDiff-two"))
    assert before["EXP"].scores.equals(after["EXP"].scores)
