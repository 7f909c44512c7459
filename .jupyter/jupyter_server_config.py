# `make lab` starts JupyterLab with this: a saved notebook is clean, as nbdev_clean makes it.
# A stage's notebook is saved without outputs, so that running or viewing one changes no file and re-runs no stage.
# What a stage printed and drew is in its executed copy under results/demo/notebooks.
# Every other page keeps its outputs; `make pages` writes them as they are committed.
import warnings
from pathlib import Path

from nbdev.clean import clean_jupyter


def clean_on_save(path, model, contents_manager, **kwargs):
    "nbdev's hook, given the whole path (JupyterLab names files from the folder it was started on)."
    whole = Path(contents_manager.root_dir, path)
    clean_jupyter(str(whole), model=model)
    if model["type"] == "notebook" and whole.parts[-3:-1] == ("nbs", "study"):
        for cell in model["content"]["cells"]:
            if cell["cell_type"] == "code": cell["outputs"] = []


warnings.filterwarnings("ignore", "Overriding existing pre_save_hook")  # the server reads this file twice
c.ContentsManager.pre_save_hook = clean_on_save  # noqa: F821  (Jupyter provides c)
