"""The site that `make docs` builds, looked at in a browser, from a folder, and nothing asked of the network.

Each check is also shown to fail, on a page that is broken as it should notice.
"""
import html.parser, importlib.util, json, os, re, shutil, subprocess, sys
from pathlib import Path
from urllib.parse import unquote, urlsplit
import pytest

ROOT = Path(__file__).parents[1]
CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
needs_browser = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no browser here: apt-get install chromium-driver")
missing = not importlib.util.find_spec("material")
pytestmark = pytest.mark.skipif(missing, reason="no MkDocs here: pip install ssdiff[dev]")
LOOKED_AT = ["index.html", "1_images/*_q_indices.html", "3_diffusion/*_schedules.html", "4_ssdiff/*_apfm.html",
             "study/*_evaluate.html", "study/*_figures.html", "results/demo/tables/table1_WV3.html"]

@pytest.fixture(scope="module")
def site(tmp_path_factory):
    "The whole site; MkDocs itself refuses a link to a page that is not there."
    folder = tmp_path_factory.mktemp("docs")/"site"
    run = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    subprocess.run(run, cwd=ROOT, check=True, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"})
    return folder

# --- what is in the files

class Page(html.parser.HTMLParser):
    "The links, pictures, ids and words of an HTML file."
    def __init__(self, path):
        super().__init__()
        self.links, self.ids, self.words, self.quiet = [], set(), [], 0
        self.feed(path.read_text(encoding="utf-8"))
    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.quiet += tag in ("script", "style", "code", "pre")
        self.ids |= {attributes[k] for k in ("id", "name") if attributes.get(k)}
        self.links += [attributes[k] for k in ("href", "src") if attributes.get(k)]
    def handle_endtag(self, tag): self.quiet -= tag in ("script", "style", "code", "pre")
    def handle_data(self, data):
        if not self.quiet: self.words.append(data)

def broken(site):
    "Links of any page to a file or a heading that is not there."
    pages = {p: Page(p) for p in site.rglob("*.html") if p.name != "404.html"}
    for path, page in pages.items():
        for link in page.links:
            url = urlsplit(link)
            target = (path.parent/unquote(url.path)).resolve() if url.path else path
            if url.scheme or url.netloc: continue
            if not target.is_file(): yield f"{path.relative_to(site)}: {link}"
            elif url.fragment and target in pages and unquote(url.fragment) not in pages[target].ids | {"__top"}:
                yield f"{path.relative_to(site)}: {link}"

def raw(site):
    "Formulas that are still LaTeX."
    for path in site.rglob("*.html"):
        found = re.search(r"\$\$|\\(frac|sum|alpha|bar|mathrm|hat|cdot)\b|elumrof", " ".join(Page(path).words))
        if found: yield f"{path.relative_to(site)}: {found[0]}"

def test_no_link_or_picture_is_missing(site):
    assert len(list(site.rglob("*.html"))) > 80 and not [*broken(site)]

def test_no_formula_is_left_as_latex(site): assert not [*raw(site)]

def test_every_page_of_the_repository_is_in_the_site_and_in_its_navigation(site):
    pages = {p.relative_to(ROOT/"nbs").with_suffix(".html").as_posix() for p in ROOT.glob("nbs/[1-8s]*/[01]*.ipynb")}
    links = set(Page(site/"index.html").links)
    assert len(pages) > 70 and not [p for p in pages if p not in links or not (site/p).exists()]

def test_a_broken_link_a_missing_picture_and_a_raw_formula_are_noticed(tmp_path):
    (tmp_path/"a.html").write_text('<h1 id="x">A</h1><a href="b.html">b</a> <img src="p.png"> <a href="#x">x</a>'
        ' <a href="#y">y</a> <a href="https://example.org/c.html">c</a> <code>$$</code>', encoding="utf-8")
    assert [*broken(tmp_path)] == ["a.html: b.html", "a.html: p.png", "a.html: #y"] and not [*raw(tmp_path)]
    (tmp_path/"a.html").write_text("<p>$$x$$</p>", encoding="utf-8")
    assert [*raw(tmp_path)] == ["a.html: $$"]

# --- what a browser makes of them

@pytest.fixture(scope="module")
def browser():
    from selenium import webdriver
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    flags = ["headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "window-size=1400,1000",
             "disable-background-networking", "host-resolver-rules=MAP * ~NOTFOUND"]
    for flag in flags: options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()

def asked(browser):
    "What the pages since the last time asked of the network."
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    return [u for u in urls if not u.startswith(("file:", "data:", "blob:", "about:"))]

def until(browser, script, seconds=20):
    from selenium.webdriver.support.ui import WebDriverWait
    return WebDriverWait(browser, seconds).until(lambda b: b.execute_script(f"return {script}"))

EMPTY = "return [...document.images].filter(i => !i.naturalWidth).map(i => i.src)"
FLAT = """return [...document.querySelectorAll("math")].filter(m => {
    const box = m.getBoundingClientRect()
    return !(box.height > 5 && box.width > 1) || m.querySelector("merror")
}).length"""
LEFT = "return /\\$\\$|\\\\frac/.test([...document.querySelectorAll('p, li, td')].map(e => e.innerText).join())"

def faults(browser, path):
    "What is wrong with a page as it is drawn."
    browser.get(path.as_uri())
    until(browser, "document.readyState == 'complete'")
    wrong = [f"no picture: {src}" for src in browser.execute_script(EMPTY)]
    wrong += [f"asks for {url}" for url in asked(browser)]
    if browser.execute_script(FLAT): wrong.append("a formula has no height")
    if browser.execute_script(LEFT): wrong.append("a formula is LaTeX")
    return wrong

@needs_browser
@pytest.mark.parametrize("name", LOOKED_AT)
def test_a_page_is_drawn_whole(site, browser, name):
    page, = site.glob(name)
    assert not faults(browser, page)
    if "apfm" in name:
        assert browser.execute_script("return document.querySelectorAll('math').length") > 20
        assert until(browser, "[...document.fonts].some(f => /STIX/.test(f.family) && f.status == 'loaded')")
    if name == "index.html": assert browser.execute_script("return document.images.length")

FOUND = "[...document.querySelectorAll('.md-search-result__link')].map(e => e.href)"

def search(browser, site, word):
    "The links of the pages that the search finds."
    browser.get((site/"index.html").as_uri())
    browser.execute_script("document.querySelector('label[for=__search]').click()")
    box = browser.find_element("css selector", ".md-search__input")
    until(browser, "document.querySelector('.md-search-result__meta').innerText.length")
    box.send_keys(word)
    until(browser, "/match|No/.test(document.querySelector('.md-search-result__meta').innerText)")
    return browser.execute_script(f"return {FOUND}")

@needs_browser
def test_the_search_works_without_a_server(site, browser):
    assert any("_apfm.html" in link for link in search(browser, site, "APFM"))
    assert not search(browser, site, "xylophone") and not asked(browser)

@needs_browser
@pytest.mark.parametrize("text, fault", [
    ('<img src="no.png">', "no picture"), ("<p>$$x$$</p>", "is LaTeX"), ("<math></math>", "no height"),
    ('<script src="http://example.org/a.js"></script>', "asks for http://example.org/a.js")])
def test_what_is_wrong_with_a_page_is_noticed(browser, tmp_path, text, fault):
    page = tmp_path/"page.html"
    page.write_text(f"<!doctype html><h1>A page</h1>{text}", encoding="utf-8")
    wrong = faults(browser, page)
    assert len(wrong) == 1 and fault in wrong[0]
