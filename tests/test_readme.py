"The numbers of README's table are those of the tables' files, and its list of pages is whole."
import re
from pathlib import Path
import pandas as pd
from ssdiff.reporting import LABELS, TABLES

ROOT = Path(__file__).parents[1]

def shown():
    "Method → index → (ours, the paper's) as README prints them."
    lines = [[c.strip() for c in line.strip("|").split("|")] for line in (ROOT/"README.md").read_text().splitlines()
             if line.startswith("| ")]
    start = next(i for i, cells in enumerate(lines) if cells[0] == "method")
    indices = [c.split()[0] for c in lines[start][1:]]
    rows = {}
    for name, *cells in lines[start + 2:]:
        if len(cells) != len(indices) or not re.search(r"\d", cells[0]): break
        rows[name] = {k: re.findall(r"\d+\.\d+", c) for k, c in zip(indices, cells)}
    return rows

def written():
    "The same from the CSV file, which README's profile left."
    files = [ROOT/f"results/{profile}/tables/table1_WV3.csv" for profile in ("full", "demo")]
    whole = lambda file: file.exists() and {*TABLES["table5"].rows} <= {*pd.read_csv(file).method}
    numbers = pd.read_csv(next(filter(whole, files))).set_index(["method", "metric"])
    return {method: {k: [f"{numbers.loc[(method, k), c]:.3f}" for c in ("mean", "paper_mean")
                         if pd.notna(numbers.loc[(method, k), c])]
                     for k in ("SAM", "ERGAS", "Q2n", "SCC", "HQNR") if (method, k) in numbers.index}
            for method in dict.fromkeys(numbers.index.get_level_values("method"))}

def test_readme_shows_the_numbers_of_the_tables():
    found, files = shown(), written()
    assert len(found) >= 13
    assert set(found) <= {LABELS.get(m, m) for m in TABLES["table1_WV3"].rows}
    for method, indices in files.items():
        if (label := LABELS.get(method, method)) in found: assert found[label] == indices, label
    assert {LABELS.get(m, m) for m in files} >= set(found)

def test_a_number_that_was_changed_by_hand_is_noticed():
    found = shown()
    found["SSDiff"]["SAM"][0] = "1.000"
    assert found["SSDiff"] != written()["SSDiff"]

def test_every_page_of_a_chapter_is_named_in_its_order():
    "`pnn … pandiff` stands for those between."
    for chapter in sorted((ROOT/"nbs").glob("[1-9]_*")):
        pages = [p.stem.partition("_")[2] for p in sorted(chapter.glob("*.ipynb"))]
        named = " ".join(rows_of(chapter.name)).replace(",", "").split()
        if "…" in named:
            gap = named.index("…")
            named[gap:gap + 1] = pages[pages.index(named[gap - 1]) + 1:pages.index(named[gap + 1])]
        assert named == pages, chapter.name

def rows_of(chapter):
    "What the table of chapters says in the rows of this one."
    inside = False
    for line in (ROOT/"README.md").read_text(encoding="utf-8").splitlines():
        first, *rest = [c.strip() for c in line.strip("|").split("|")]
        if first or not rest: inside = first == f"`nbs/{chapter}`"
        if inside: yield rest[0]
