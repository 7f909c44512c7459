"""Runs the pages, tests included, and keeps what they show.

    python docs/pages.py write [PAGE ...]    run, and write the outputs into the pages (`make pages`)
    python docs/pages.py check [PAGE ...]    run, and compare the outputs with those in the pages (`make test`)

The pages under nbs/study are the exception: the pipeline depends on these files, so they hold no outputs.
What the pipeline's runs of them showed is kept, made small, in docs/study.
"""
import argparse, base64, io, multiprocessing, os, pickle, re, sys, tempfile, time
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DPI = 80                                    # of the pictures in the pages: small, and the same on every machine
WIDEST = 1000                               # pixels of a picture
NO_OUTPUTS = ["nbs/study/*", "nbs/bench.ipynb"]  # bench measures time; its results are in results/bench
STAGES = dict(prepare="prepare_WV3", pretrain="pretrain_WV3", evaluate="evaluate_WV3", tables="tables",
              figures="figures", steps="steps_WV3")  # stage → the run of it that docs/study keeps

# How far an output may be from the committed one.
# The same machine makes the same bytes, but another processor adds numbers up in another order: the last digits of
# everything that a network has learnt differ then, and pictures with them, and rounding errors altogether.
# (Tried with the processor's vector instructions switched off: pictures differed by less than a millionth.)
RELATIVE = 0.02                             # of a number
ROUNDING, FACTOR, TINY = 1e-3, 3, 1e-6      # numbers below the first may differ by the factor; those below the last do
PICTURE = 0.005                             # mean difference of two pictures, as a share of black to white

# --- running a page

def is_run(cell, skip="slow"):
    "nbdev_test leaves the same cells out."
    flags = re.findall(r"^#\|\s*(\w+)", cell.source, re.M)
    return skip not in flags and not re.search(r"^#\|\s*eval:\s*false|nbdev_export\(", cell.source, re.M)

def run(page):
    "Each code cell's id → its tidy outputs; an error in a cell is raised."
    from execnb.nbio import read_nb
    from execnb.shell import CaptureShell
    from matplotlib import pyplot as plt
    os.environ["IN_TEST"] = "1"
    os.chdir(page.parent)
    sys.path.insert(0, str(ROOT))
    nb, shell = read_nb(page), CaptureShell(page, mpl_format="png")
    plt.rcParams["figure.dpi"] = DPI
    for cell in nb.cells:
        if cell.source.rstrip().endswith(";"): cell.source += "\nNone"  # or execnb would drop what the cell prints
    try: shell.run_all(nb, exc_stop=True, preproc=lambda c: c.cell_type == "code" and not is_run(c))
    except BaseException: sys.exit(shell.prettytb(fname=page.relative_to(ROOT)))
    return {c.id: [small(o) for o in tidy(c)] for c in nb.cells if c.cell_type == "code"}

def tidy(cell):
    "The outputs of a cell: no warnings, progress bars or counts; none at all after `#| hide` or `#| output: false`."
    if not is_run(cell) or re.search(r"^#\|\s*(hide|output:\s*false)", cell.source, re.M): return []
    kept = []
    for o in cell.get("outputs", []):
        o = {k: v for k, v in o.items() if k not in ("execution_count", "metadata")}
        data = {k: nameless(v) if k.startswith("text") else v for k, v in o.get("data", {}).items()}
        if o.get("name") == "stderr" or any("widget" in k for k in data): continue
        if "data" in o: o |= dict(metadata={}, data={k: data[k] for k in sorted(data)})
        if o["output_type"] == "execute_result": o["execution_count"] = None
        last = kept[-1] if kept else {}
        if "text" in o and "text" in last: last["text"] = joined(last["text"]) + joined(o["text"])
        else: kept.append(o)
    for o in kept:
        if "text" in o: o["text"] = nameless(o["text"]).splitlines(True)
    return kept

def nameless(text):
    "Without addresses, as nbdev_clean leaves it."
    return re.sub(r"(<.*?) at 0x[0-9a-fA-F]+(>)", r"\1\2", joined(text))

def joined(text): return text if isinstance(text, str) else "".join(text)

def small(output):
    "Its picture with at most WIDEST pixels across and 256 colours."
    from PIL import Image
    picture = output.get("data", {}).get("image/png")
    if picture:
        image, stream = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB"), io.BytesIO()
        image.thumbnail((WIDEST, WIDEST))
        image.quantize(256).save(stream, "png", optimize=True)
        output["data"]["image/png"] = base64.b64encode(stream.getvalue()).decode()
    return output

def run_all(pages, workers):
    "Page → its outputs, or None where it failed. Each has a process of its own: no page sees what another left."
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "pandas", "scipy.signal", "h5py", "matplotlib.pyplot", "execnb.shell"])
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(workers) as pool:
        def one(n_page):
            n, page = n_page
            kept, started = Path(folder, str(n)), time.perf_counter()
            process = context.Process(target=_run_into, args=(page, kept))
            process.start()
            process.join()
            print(f"{time.perf_counter() - started:5.0f} s  {page.relative_to(ROOT)}", flush=True)
            return pickle.loads(kept.read_bytes()) if process.exitcode == 0 else None
        return dict(zip(pages, pool.map(one, enumerate(pages))))

def _run_into(page, path): path.write_bytes(pickle.dumps(run(page)))

# --- comparing

NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?", re.I)

def same_text(new, old):
    "The same words, and numbers within bounds; how many blanks stand between them does not count."
    if NUMBER.sub("0", new).split() != NUMBER.sub("0", old).split(): return False
    return all(same_number(a, b) for a, b in zip(NUMBER.findall(new), NUMBER.findall(old)))

def same_number(a, b):
    "Within 2 %, or one unit of the last decimal place that is printed; a rounding error is of the same size."
    decimals = [len(n.lower().partition("e")[0].partition(".")[2]) for n in (a, b)]
    last = 10.0**-max(decimals) if max(decimals) and "e" not in (a + b).lower() else 0
    small, large = sorted((abs(float(a)), abs(float(b))))
    if large < ROUNDING and float(a)*float(b) > 0 and large <= FACTOR*small: return True
    return abs(float(a) - float(b)) <= max(RELATIVE*abs(float(b)), last*1.001, TINY)

def same_picture(new, old):
    import numpy as np
    from PIL import Image
    a, b = (np.asarray(Image.open(io.BytesIO(base64.b64decode(p))).convert("RGB"), dtype=float) for p in (new, old))
    return a.shape == b.shape and abs(a - b).mean() <= PICTURE*255

def difference(new, old):
    "What sets the outputs of a cell apart from the committed ones, in words; None if nothing does."
    for a, b in zip_longest(new, old):
        if a is None: return f"no longer shows {brief(b)}"
        if b is None: return f"shows {brief(a)}, which is not in the page"
        a, b = (o.get("data", {"text": o.get("text")}) for o in (a, b))
        if set(a) != set(b): return f"shows {', '.join(a)} and the page has {', '.join(b)}"
        for kind in a:
            x, y = joined(a[kind]), joined(b[kind])
            if kind == "image/png" and not same_picture(x, y): return "shows another picture than the page has"
            if kind != "image/png" and not same_text(x, y): return "shows {} and the page has {}".format(*unlike(x, y))
    return None

def brief(output):
    return "a picture" if "image/png" in output.get("data", {}) else "a text"

def unlike(new, old):
    "The first words that differ, quoted."
    pairs = zip_longest(new.split(), old.split(), fillvalue="nothing")
    return next((f"{a[:60]!r}", f"{b[:60]!r}") for a, b in pairs if not same_text(a, b))

def stale(page, outputs):
    "One line for each cell whose outputs are not the committed ones."
    remedy = f"run `make pages PAGES={page.relative_to(ROOT)}`"
    for cell in code_cells(page):
        what = difference(outputs[cell["id"]], cell.get("outputs", []))
        if what: yield f"{page.relative_to(ROOT)}: the cell {cell['id']} {what}; {remedy}"

# --- writing

def code_cells(page):
    from execnb.nbio import read_nb
    return [c for c in read_nb(page).cells if c.cell_type == "code"]

def write(page, outputs, out=None):
    "The page with these outputs, as nbdev_clean leaves it."
    from execnb.nbio import read_nb, write_nb
    from nbdev.clean import _nbdev_clean
    nb = read_nb(page)
    for cell in nb.cells:
        if cell.cell_type == "code": cell.outputs = outputs[cell.id]
        cell.pop("idx_", None)
    _nbdev_clean(nb)
    write_nb(nb, out or page)

def write_stages(runs=ROOT/"results/demo/notebooks", folder=ROOT/"docs/study"):
    "What the pipeline's runs showed, where it has run here."
    folder.mkdir(exist_ok=True)
    for page in sorted((ROOT/"nbs/study").glob("*.ipynb")):
        executed = runs/f"{STAGES.get(page.stem[3:])}.ipynb"
        if not executed.exists(): continue
        outputs = {c["id"]: [small(o) for o in tidy(c)] for c in code_cells(executed)}
        write(executed, outputs, folder/page.name)
        print(f"{folder.relative_to(ROOT)}/{page.name} from {executed.relative_to(ROOT)}")

# --- the command

def keeps_outputs(page): return not any(page.relative_to(ROOT).match(p) for p in NO_OUTPUTS)

def all_pages():
    "Every page, the last first: those take longest."
    pages = [p for p in (ROOT/"nbs").rglob("*.ipynb") if not any(q[0] in "._" for q in p.relative_to(ROOT).parts)]
    return sorted(pages, reverse=True)

def main(do, pages, workers=2):
    stages_too = do == "write" and not pages
    pages = [Path(p).resolve() for p in pages] or all_pages()
    os.chdir(ROOT)                          # where nbdev finds its settings
    os.environ["OMP_NUM_THREADS"] = "1"     # sums of several threads have other last digits
    if do == "write": pages = [p for p in pages if keeps_outputs(p)]
    ran = dict(sorted(run_all(pages, workers).items()))
    failed = [str(p.relative_to(ROOT)) for p, outputs in ran.items() if outputs is None]
    kept = {p: outputs for p, outputs in ran.items() if outputs is not None and keeps_outputs(p)}
    if do == "write":
        for page, outputs in kept.items(): write(page, outputs)
    if stages_too: write_stages()
    lines = [] if do == "write" else [line for p, outputs in kept.items() for line in stale(p, outputs)]
    print(*lines, *(f"{p}: failed, see above" for p in failed), sep="\n")
    return int(bool(lines or failed))

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("do", choices=["write", "check"])
    parser.add_argument("pages", nargs="*", metavar="PAGE")
    parser.add_argument("--workers", type=int, default=2, help="pages that run at the same time")
    sys.exit(main(**vars(parser.parse_args())))
