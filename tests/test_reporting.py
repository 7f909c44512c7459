"The six tables on made-up scores whose answer is known, and on the paper's own file."
import itertools, json
from pathlib import Path
import numpy as np, pandas as pd, pytest
from hypothesis import given, settings, strategies as st
from ssdiff.evaluation import save_scores
from ssdiff.reporting import COLUMNS, counts, IDEAL, make_table, marks, rank_correlations, TABLES
from ssdiff.agreement import compare, holm
from ssdiff.reporting import read_costs, read_scores, show_table, to_markdown, write_tables
from ssdiff.agreement import signed_rank

PAPER = Path(__file__).parents[1]/"data/paper.csv"
T1, T3, T4, T6 = (TABLES[k] for k in ("table1_WV3", "table3", "table4", "table6"))
NUMBERS = ["mean", "std", "images", "paper_mean", "paper_std", "p", "p_also"]

@pytest.fixture(scope="module")
def paper(): return pd.read_csv(PAPER)

def scored(quality, n=20, n_full=20, seed=0):
    "Scores of a method of that quality (0 is perfect): the images' difficulty is shared, the rest is the method's own"
    hard, own = np.random.default_rng(7).uniform(1, 3, n), np.random.default_rng(seed).normal(0, .01, n)
    own -= own.mean()                                        # so that the means are in the order of the qualities
    bad = pd.DataFrame({k: hard * (.1 + quality) + own for k in IDEAL}).rename_axis("image")
    bad.loc[bad.index >= n_full, ["D_lambda_K", "D_s", "HQNR", "QNR"]] = np.nan
    return bad.assign(**{k: 1 - bad[k] / 10 for k, ideal in IDEAL.items() if ideal == 1})

def book_of(table, paper):
    "The paper's lines of one table"
    return paper[(paper.table == table.number) & (paper.sensor == table.sensor)]

def as_the_paper(table, paper, **kwargs):
    "Scores of every row in the paper's own order of SAM"
    means = book_of(table, paper).query("metric == 'SAM'").set_index("method")["mean"]
    return {m: scored(means.get(row, 9), seed=i, **kwargs) for i, (row, m) in enumerate(table.rows.items())}

def write(folder, scores):
    for sensor, methods in scores.items():
        for name, frame in methods.items(): save_scores(folder/f"scores/{sensor}/{name}.csv", frame)

def agreements(numbers, index): return numbers[numbers.metric == index].set_index("method")["agreement"].to_dict()

def cells(line): return [c.strip() for c in line.replace("\\\\", "").replace("\\|", "").strip().strip("|").split("|")]

def test_the_tables_are_those_of_the_paper(paper):
    for (number, sensor), book in paper.groupby(["table", "sensor"]):
        table, = (t for t in TABLES.values() if (t.number, t.sensor) == (number, sensor))
        printed = list(book.method.unique())
        assert [m for m in table.rows if m in printed] == printed                # the paper's rows in its order
        named = {v for v in [*table.indices.values(), *table.costs.values()] if v}
        assert set(book.metric) == named - ({"params"} if number != 3 else set())

@pytest.mark.parametrize("name", [k for k, t in TABLES.items() if t.number])
def test_scores_in_the_papers_order_agree_everywhere_in_sam(paper, name):
    table = TABLES[name]
    numbers = make_table(table, as_the_paper(table, paper), paper)
    found = agreements(numbers, "SAM")
    printed = set(book_of(table, paper).method) - {table.reference}
    if name != "table6":                                     # 2.8460 and 2.8466 are not told apart, below
        assert {m: a for m, a in found.items() if a} == {m: "agrees" for m in table.rows if m in printed}
    assert rank_correlations(numbers).get("SAM", 1) == pytest.approx(1)

def test_a_small_difference_within_the_scatter_is_open(paper):
    numbers = make_table(T6, as_the_paper(T6, paper), paper)
    assert agreements(numbers, "SAM")["finetune spatial=0 spectral=1"] == "open"

def test_table_6_asks_which_mode_is_best_and_whether_each_helps(paper):
    qualities = {"SSDiff": 1, "SSDiff-spatial": 1.2, "SSDiff-spectral": 1.6, "SSDiff-pretrained": 1.4}
    numbers = make_table(T6, {m: scored(q) for m, q in qualities.items()}, paper)
    both = show_table(T6, numbers, ["SAM"])[["order against alternating", "order against no fine-tuning"]]
    assert both.T.to_dict("list") == {
        "no fine-tuning": ["✓ SAM", "–"],
        "spatial branch": ["✓ SAM", "✓ SAM"],
        "spectral branch": ["✗ SAM", "✗ SAM"],
        "alternating": ["–", "✓ SAM"]}
    assert "comparisons with no fine-tuning 8 agree with the paper's order, 4 disagree" in counts(T6, numbers, "_also")

def test_the_opposite_order_disagrees_everywhere(paper):
    order = ["V5", "V2", "V1", "V3", "V4"]                   # the paper's, of SAM
    scores = {m: scored(1 + i, seed=i) for i, m in enumerate(order)}
    swapped = {"V5": scores["V4"], "V4": scores["V5"], **{m: scores[m] for m in ("V1", "V2", "V3")}}
    numbers = make_table(T3, swapped, paper)
    assert set(agreements(numbers, "SAM").values()) == {"disagrees", ""}
    assert "0 agree with the paper's order, 16 disagree, 0 are open" in counts(T3, numbers)

def test_table_4_knows_that_the_paper_prints_a_better_q2n_without_fmim(paper):
    numbers = make_table(T4, {"V5": scored(1), "V5-noFMIM": scored(2)}, paper)
    found = {k: agreements(numbers, k)["without FMIM"] for k in T4.indices}
    assert found == dict(SAM="agrees", ERGAS="agrees", Q2n="disagrees", SCC="agrees")
    assert rank_correlations(numbers) == {}                  # two rows have no rank correlation
    assert show_table(T4, numbers, list(T4.indices)).iloc[0, -1] == "✓ SAM ERGAS SCC · ✗ Q2n"

def test_equal_means_in_the_paper_are_no_comparison(paper):
    numbers = make_table(TABLES["table2"], as_the_paper(TABLES["table2"], paper), paper)
    scc = agreements(numbers, "SCC")
    assert scc["CTINN"] == scc["MMNet"] == scc["SSDiff"] == "" and scc["PNN"] == "agrees"

def test_methods_that_do_not_exist_are_absent(paper):
    scores = {m: scored(q) for m, q in dict(SSDiff=1, PNN=2).items()}
    numbers = make_table(T1, scores, paper)
    assert list(numbers.method.unique()) == ["PNN", "SSDiff"]
    assert numbers.loc[numbers.metric.isin(T1.indices), "mean"].notna().all()
    none = make_table(T1, {}, paper)
    assert none.empty and list(none.columns) == [*COLUMNS, "p", "agreement"]
    alone = make_table(T1, {"PNN": scored(1)}, paper)        # no reference: numbers, but no comparison
    assert (alone.agreement == "").all() and counts(T1, alone).startswith("Nothing to compare")

@pytest.mark.parametrize("n", [1, 2, 6, 8, 9, 20])
def test_too_few_images_decide_nothing_and_the_line_says_so(paper, n):
    numbers = make_table(T1, as_the_paper(T1, paper, n=n, n_full=n), paper)
    line, every = counts(T1, numbers), set(agreements(numbers, "SAM").values()) - {""}
    if n < 9: assert every == {"open"} and f"{n} image{'s' * (n > 1)} cannot decide 12 comparisons" in line
    else: assert every == {"agrees"} and "cannot" not in line
    assert ("±" in show_table(T1, numbers, ["SAM"]).loc["PNN", "SAM"]) == (n > 1)          # one image has no spread

def test_fewer_images_or_none_at_full_resolution(paper):
    numbers = make_table(T1, as_the_paper(T1, paper, n_full=4), paper)
    assert set(agreements(numbers, "SAM").values()) == {"agrees", ""}
    assert set(agreements(numbers, "HQNR").values()) == {"open", ""}
    line = counts(T1, numbers)
    assert "4 images cannot decide 12 comparisons" in line and "20 images cannot" not in line
    reduced = {m: s[["SAM", "ERGAS", "Q2n", "SCC"]] for m, s in as_the_paper(T1, paper).items()}
    none = make_table(T1, reduced, paper)
    assert none[none.metric == "HQNR"]["mean"].isna().all() and set(agreements(none, "HQNR").values()) == {""}

def test_different_images_stop_the_table(paper):
    with pytest.raises(ValueError, match="SAM of PNN lacks image 19.*score all methods on the same images"):
        make_table(T1, dict(SSDiff=scored(1), PNN=scored(2, n=19)), paper)
    holed = scored(2)
    holed.loc[3, "D_s"] = np.nan
    with pytest.raises(ValueError, match="D_s of PNN lacks image 3"):
        make_table(T1, dict(SSDiff=scored(1), PNN=holed), paper)

def test_images_are_paired_by_name_not_by_place(paper):
    scores = as_the_paper(T3, paper)
    shuffled = {m: s.sample(frac=1, random_state=i) for i, (m, s) in enumerate(scores.items())}
    pd.testing.assert_frame_equal(make_table(T3, scores, paper), make_table(T3, shuffled, paper))

def test_marks_follow_the_printed_digits():
    assert marks(pd.Series([2.00004, 2.00001, 3., 4.]), 0).tolist() == ["best", "best", "second", ""]
    assert marks(pd.Series([.02, .02, .02]), 0).tolist() == ["best"] * 3
    assert marks(pd.Series([np.nan] * 3), 0).tolist() == [""] * 3
    assert marks(pd.Series([1.1, .95, .8]), 1).tolist() == ["second", "best", ""]

@given(st.lists(st.floats(-5, 5), min_size=3, max_size=14), st.sampled_from([0, 1]))
@settings(deadline=None, max_examples=60)
def test_marks_never_pass_over_a_better_row(values, ideal):
    means = pd.Series(values)
    far, mark = (means.round(4) - ideal).abs().round(4), marks(means, ideal)
    assert (mark == "best").any() and (far[mark == "best"] == far.min()).all()
    assert (far[mark == ""] > far[mark != ""].max()).all()

@given(st.lists(st.floats(0, 1), max_size=12))
@settings(deadline=None, max_examples=60)
def test_holm_lies_between_no_correction_and_bonferroni(p):
    p, q = np.array(p), holm(p)
    assert (q >= p).all() and (q <= np.minimum(1, p * len(p)) + 1e-12).all()
    assert all(q[i] <= q[j] for i, j in itertools.permutations(range(len(p)), 2) if p[i] < p[j])

def test_false_findings_are_as_rare_as_promised():
    "Equal methods: a family of 12 comparisons has any finding in at most 5 % of the cases"
    rng, book, wrong = np.random.default_rng(0), pd.Series({m: 1. + m for m in range(13)}), 0
    for _ in range(200):
        values = pd.DataFrame(rng.uniform(2, 6, 20)[:, None] + rng.normal(0, .1, (20, 13)))
        wrong += (compare(values, book, 0, 0)["agreement"] != "open").any()
    assert wrong <= 18                                       # 200 × 5 % = 10, and 2.6 standard deviations

def test_signed_rank_with_ties_and_zeros():
    assert signed_rank([2.] * 8, [1.] * 8) == (1, pytest.approx(2 / 2**8))
    assert signed_rank([1.] * 8, [1.] * 8) == (0, 1.)
    assert signed_rank([1, 2, 1, 2], [2, 1, 2, 1])[0] == 0

@given(st.lists(st.lists(st.text(max_size=12), min_size=2, max_size=2), max_size=5))
@settings(deadline=None, max_examples=80)
def test_markdown_is_well_formed_whatever_the_cells_hold(rows):
    names = pd.Index([f"m{i}|" for i in range(len(rows))], name="method")
    table = pd.DataFrame(rows, columns=["a|b", "c\nd"], index=names, dtype=object)
    lines = to_markdown(table).rstrip("\n").split("\n")
    assert len(lines) == len(rows) + 2 and all(len(cells(line)) == 3 for line in lines)

def test_files_are_the_same_bytes_and_read_back(tmp_path, paper):
    scores = {t.sensor: {} for t in TABLES.values()}
    for t in TABLES.values(): scores[t.sensor] |= as_the_paper(t, paper)
    write(tmp_path, scores)
    (tmp_path/"costs/WV3").mkdir(parents=True)
    for m, n, minutes in (("SSDiff", 1420184, 9), ("PNN", 104360, 2)):
        cost = dict(method=m, parameters=n, minutes=minutes, after=None)
        (tmp_path/f"costs/WV3/{m}.json").write_text(json.dumps(cost))
    (tmp_path/"costs/WV3/seconds.json").write_text(json.dumps(dict(PNN=.0213)))
    pages = write_tables(tmp_path, PAPER, tmp_path/"a")
    write_tables(tmp_path, PAPER, tmp_path/"b")
    assert [p for p in pages if p in TABLES] == list(TABLES)
    assert {p.stem for p in (tmp_path/"a").iterdir()} == set(pages)
    for name, table in TABLES.items():
        assert (tmp_path/f"a/{name}.csv").read_bytes() == (tmp_path/f"b/{name}.csv").read_bytes()
        assert (tmp_path/f"a/{name}.md").read_text() == pages[name]
        read = pd.read_csv(tmp_path/f"a/{name}.csv", keep_default_na=False, na_values={k: "" for k in NUMBERS})
        costs = read_costs(tmp_path/"costs/WV3") if "WV3" in (table.sensor, table.trained) else None
        expected = make_table(table, read_scores(tmp_path/f"scores/{table.sensor}"), paper, costs)
        pd.testing.assert_frame_equal(read, expected, rtol=1e-9, check_dtype=False)
        widths = [len(cells(line)) for line in pages[name].split("\n") if line.startswith("|")]
        assert len(set(widths)) <= 2 and all(w > 2 for w in widths)
    assert "| PNN | " in pages["table5"] and "104,360" in pages["table5"]     # WV2 is sharpened by the networks of WV3
    assert "104,360" not in pages["table2"] and "1100K" in pages["table3"]
    assert "2.8466 ± 0.5285" in pages["table1_WV3"] and "PanDiff (re-implementation)" in pages["table1_GF2"]

def test_absent_tables_are_not_written(tmp_path, paper):
    write(tmp_path, {"WV3": as_the_paper(T3, paper)})
    pages = write_tables(tmp_path, PAPER, tmp_path/"t")
    assert [p for p in pages if p in TABLES] == ["table3", "table4"]         # V5 is the row with FMIM, too
    assert not (tmp_path/"t/table1_WV3.md").exists()

def test_a_file_that_is_no_table_of_scores_is_named(tmp_path):
    for text in ("SAM\n1\n", "image,SAM\n0,1\n0,2\n", "image,SAM\n0,none at all\n"):
        (tmp_path/"PNN.csv").write_text(text)
        with pytest.raises(ValueError, match="PNN.csv.*score this method again"): read_scores(tmp_path)

@pytest.mark.parametrize("source, said", [("PanCollection", True), ("simulated scenes", False)])
def test_the_foot_says_whose_images_these_are(paper, tmp_path, source, said):
    write(tmp_path, {s: as_the_paper(TABLES[f"table1_{s}"], paper) | {"EXP": scored(9)} for s in ("WV3", "GF2")})
    pages = write_tables(tmp_path, PAPER, tmp_path/"tables", source)
    assert {k for k, page in pages.items() if "EXP's D_λ" in page} == ({"table1_WV3"} if said else set())
