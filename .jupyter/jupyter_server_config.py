# `make lab` starts JupyterLab with this: notebooks are cleaned as nbdev_clean does whenever they are saved.
from nbdev.clean import clean_jupyter

c.ContentsManager.pre_save_hook = clean_jupyter  # noqa: F821  (Jupyter provides c)
