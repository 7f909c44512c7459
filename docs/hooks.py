"""What MkDocs does not do by itself: notebooks become pages, LaTeX becomes MathML, and what a page names is a link.

The site holds what the repository holds, at the same place, except that nbs/ is its root. Nothing is executed.
"""
import base64, html, json, posixpath, re
from importlib.resources import files as files_of
from pathlib import Path
from latex2mathml.converter import convert
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
CHAPTERS = {"1_images": "1 Images and indices", "2_scenes": "2 Scenes", "3_diffusion": "3 Diffusion",
            "4_ssdiff": "4 SSDiff", "5_training": "5 Training", "6_compared": "6 Compared networks",
            "7_study": "7 Running the study", "8_sharpen": "8 Sharpening a scene", "study": "The study's stages"}
TEXTS = ["results/**/*.md", "ssdiff/weights/README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
PICTURES = ["results/**/*.png"]

def source_of(page):
    "The notebook that is shown: of a stage the copy that the pipeline executed, where one is kept."
    executed = ROOT/"docs/study"/page.name
    return executed if page.parent.name == "study" and executed.exists() else page

def told(page, executed):
    "A sentence that says where the outputs are from."
    def code(path): return ["".join(c["source"]) for c in cells_of(path) if c["cell_type"] == "code"]
    since = "" if {*code(page)} <= {*code(executed)} else " Its code was edited since."
    return f"*As the pipeline executed it: the values of `params.yaml` are in the cell below its own.{since}*"

def cells_of(notebook): return json.loads(notebook.read_text(encoding="utf-8"))["cells"]

def repository():
    "Path in the repository → path in the site."
    pages = {p.relative_to(ROOT).as_posix(): p.relative_to(ROOT/"nbs").with_suffix(".md").as_posix()
             for p in sorted(ROOT.glob("nbs/**/*.ipynb")) if not any(q[0] in "._" for q in p.relative_to(ROOT).parts)}
    others = [p.relative_to(ROOT).as_posix() for glob in TEXTS + PICTURES for p in sorted(ROOT.glob(glob))]
    return pages | dict(zip(others, others))

PLACES = repository()

# --- MkDocs' events

def on_config(config):
    "The navigation: the chapters in reading order."
    def pages(folder): return [site for path, site in PLACES.items() if posixpath.dirname(path) == f"nbs/{folder}"]
    chapters = [{title: pages(folder)} for folder, title in CHAPTERS.items()]
    tables = [site for site in PLACES.values() if site.startswith("results/") and site.endswith(".md")]
    rest = ["ssdiff/weights/README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
    first = [{"SSDiff": "index.md"}, "try.md", "sharpen.md", "findings.md", "qgis.md"]
    last = ["bench.md", {"Tables": tables}, {"About": rest}]
    config.nav = [*first, *chapters, *last]
    return config

@event_priority(50)  # before the plugins
def on_files(files, config):
    for path, site in PLACES.items():
        if path.endswith(".ipynb"): content, pictures = page_of(path, source_of(ROOT/path))
        elif path.endswith(".md"): content, pictures = linked((ROOT/path).read_text(encoding="utf-8"), path), {}
        else: content, pictures = (ROOT/path).read_bytes(), {}
        for name, data in (pictures | {site: content}).items(): files.append(File.generated(config, name, content=data))
    files.append(File.generated(config, "formulas.css", content=math_font()))
    return files

def math_font():
    "STIX Two Math, because no browser brings a font for formulas; within the style sheet it is read from a folder too."
    font = base64.b64encode((files_of("ziamath")/"fonts/STIXTwoMath-Regular.ttf").read_bytes()).decode()
    return f'@font-face {{ font-family: "STIX Two Math"; src: url(data:font/ttf;base64,{font}); }}\n'

def on_page_markdown(markdown, page, **kwargs):
    "Formulas wait in `page.meta` until the Markdown around them is HTML."
    page.meta["formulas"] = formulas = []
    def kept(found):
        if found["code"]: return found[0]
        formulas.append(mathml(found))
        return f"formula{len(formulas) - 1}elumrof"
    return FORMULA.sub(kept, markdown)

def on_page_content(html, page, **kwargs):
    return re.sub(r"formula(\d+)elumrof", lambda found: page.meta["formulas"][int(found[1])], html)

FORMULA = re.compile(r"""(?P<code> ^```.*?^``` | ^<(pre|div).*?^</\2> | `[^`\n]+`)
    | \$\$(?P<block>.+?)\$\$ | (?<![\\$\w])\$(?P<inline>[^$`]+?)\$""", re.M | re.S | re.X)

def mathml(found):
    tex = (found["block"] or found["inline"]).replace(r"\arg", r"\operatorname{arg}")
    formula = convert(tex, display="block" if found["block"] else "inline")
    return formula.replace('<mo accent="true">&#x02015;</mo>', '<mo stretchy="true">&#x203E;</mo>')  # as long as needed

# --- a notebook as Markdown

def page_of(path, notebook):
    "The text of a page, and its pictures: path in the site → bytes."
    text, pictures = [], {}
    for cell in cells_of(notebook):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown": text.append(linked(source, path))
        elif not re.search(r"^#\|\s*(hide|default_exp)", source):
            code = re.sub(r"(?m)^#[|].*\n?", "", source).strip()
            if path != "nbs/index.ipynb": text.append(f"```python\n{code}\n```")  # nor has README its code
            for n, output in enumerate(cell["outputs"]):
                picture = f"{PLACES[path].removesuffix('.md')}_{cell['id']}_{n}.png"
                text.append(shown(output, path, picture, pictures))
    if notebook != ROOT/path: text.insert(1, told(ROOT/path, notebook))
    return "\n\n".join(text) + "\n", pictures

def shown(output, path, picture, pictures):
    "An output as Markdown or HTML; a picture goes into `pictures`."
    data = {kind: "".join(value) for kind, value in output.get("data", {"text/plain": output.get("text", "")}).items()}
    if "text/markdown" in data: return linked(data["text/markdown"], path)
    if "text/html" in data:
        table = re.sub(r"<style.*?</style>|\s*\n\s*", "", data["text/html"], flags=re.S)
        return f'<div class="output">{table}\n</div>'
    if "image/png" in data:
        pictures[picture] = base64.b64decode(data["image/png"])
        return f"![What the cell above draws]({posixpath.basename(picture)})"
    return f'<pre class="output">{html.escape(data.get("text/plain", ""), quote=False).rstrip()}\n</pre>'

def linked(text, path):
    "A file's Markdown with links as they are in the site; `nbs/a_page`, `CHANGELOG.md` and the like become links."
    here = PLACES[path]
    def to(target):
        folder = f"{target.rstrip('/')}/"
        at = next((p for p in (target, f"{target}.ipynb", target.removesuffix(".md") + ".ipynb") if p in PLACES), None)
        if not at and target.startswith("nbs/"): at = next((p for p in PLACES if p.startswith(folder)), None)
        return at and posixpath.relpath(PLACES[at], posixpath.dirname(here) or ".")
    def link(found):
        near = posixpath.normpath(posixpath.join(posixpath.dirname(path), found[2]))
        return f"{found[1]}{to(near) or to(posixpath.normpath(found[2])) or found[2]})"
    def mention(found):
        at = None if found[1] or found[3] else to(found[2])
        return f"[`{found[2]}`]({at})" if at and at != here else found[0]
    parts = re.split(r"(^```.*?^```)", text, flags=re.M | re.S)
    for n, part in enumerate(parts):
        if n % 2: continue
        part = re.sub(r"(!?\[[^\]]*\]\()(?!\w+:|#)([^)\s]+)\)", link, part)
        part = re.sub(r"(\[?)`((?:nbs|results|ssdiff)/[\w./-]+|[A-Z]+\.md)`(\]?)", mention, part)
        parts[n] = re.sub(r"(?m)^(?![-*|>#\d\s])(.*\S)\n(?=[-*] |\d\. )", r"\1\n\n", part)  # as Jupyter shows lists
    return "".join(parts)
