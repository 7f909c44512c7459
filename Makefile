# Two commands: `make reproduce` remakes every table and figure, `make test` tests everything.
# `make help` lists the rest.
.DEFAULT_GOAL := help
.PHONY: help try qgis reproduce reproduce-alone adopt status status-alone test pages docs bench plots lab readme
.PHONY: constraints hooks clean
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

# The first Python between 3.10 and 3.12 that is here; `make PYTHON=/some/python3.11 ...` chooses another.
PYTHON ?= $(shell for p in python3 python3.12 python3.11 python3.10; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo $$p && break; done)
VENV   := .venv
BIN    := $(abspath $(VENV))/bin
READY  := $(VENV)/.ready
SMALL  := $(VENV)/.small
NO_PYTHON := No Python 3.10, 3.11 or 3.12 found. Install one, or say where it is:
# The profile in params.yaml; asked anew each time, as `make reproduce PROFILE=full` changes it.
CHOSEN = $$(sed -nE 's/^profile: *([a-z]+).*/\1/p' params.yaml)
export PATH := $(BIN):$(PATH)
export OMP_WAIT_POLICY ?= passive
export PIP_DISABLE_PIP_VERSION_CHECK := 1

help: ## show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /make \1|/' | column -t -s '|'

# $(call INSTALL,what pip is told)
define INSTALL
	@test -n "$(PYTHON)" || { echo "$(NO_PYTHON) make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 2; }
	@echo "Making $(VENV) with $$($(PYTHON) --version) (a few minutes the first time) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --progress-bar off $1 -c constraints.txt -e .
	@touch $@
endef

$(READY): requirements.txt constraints.txt settings.ini setup.py
	$(call INSTALL,-r requirements.txt)

# What the package itself needs, in the same versions: no notebooks, no DVC, no site.
$(SMALL): requirements.txt constraints.txt settings.ini setup.py
	$(call INSTALL,-c <(grep -v '\[' requirements.txt))

TRY ?= try
PAIR = $(TRY)/PAN.tif $(TRY)/MS.tif
HOW = --sensor WV3 --overwrite

try: $(if $(wildcard $(READY)),$(READY),$(SMALL)) ## see a small scene sharpened in two ways, in a few minutes
	ssdiff-sharpen --example $(TRY) --overwrite
	ssdiff-sharpen $(PAIR) $(TRY)/SSDiff.tif $(HOW)
	ssdiff-sharpen $(PAIR) $(TRY)/MTF-GLP-FS.tif $(HOW) --method MTF-GLP-FS
	@python -c "from ssdiff.example import draw_example as draw; print(draw('$(TRY)'), 'shows all of them')"

qgis: ## zip the plugin for QGIS, dist/ssdiff_processing.zip (install it with QGIS's plugin manager)
	@$(or $(PYTHON),python3) qgis/pack.py

data: $(READY) data.dvc
	@dvc pull --quiet data.dvc
	@touch data

# Runs a command unless another one holds the lock.
# Whatever the command starts holds it too, so that it is free when the last of them has ended, however it ended.
define ALONE
import fcntl, os, subprocess, sys
os.makedirs(".dvc/tmp", exist_ok=True)
lock = open(".dvc/tmp/reproduce", "a+")
try: fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    lock.seek(0)
    holder = f"Another `make reproduce` is at work in this folder (process {lock.read().strip()})."
    sys.exit(f"{holder} Wait until it is done, or stop it; nothing was changed.")
lock.truncate(0)
lock.write(str(os.getpid()))
lock.flush()
sys.exit(subprocess.run(sys.argv[1:], pass_fds=[lock.fileno()]).returncode)
endef
export ALONE

reproduce: ## remake every table and figure (PROFILE=ci|demo|full|paper picks another profile)
	@$(or $(PYTHON),python3) -c "$$ALONE" $(MAKE) --no-print-directory reproduce-alone

# What is out of date goes two stages at a time, of one thread each: these networks are too small to be shared out.
# Groups wait for each other, the stages of a group do not.
# Not where $LAUNCH starts several processes already, and not where nothing is to be done.
# Whatever is left after the pairs is left to DVC.
reproduce-alone: $(READY) data
	@ssdiff-study mend
ifdef PROFILE
	@ssdiff-study profile $(PROFILE)
endif
	@nbdev_clean
	@python -m ssdiff.reproduced take_up
	@test -n "$${LAUNCH:-}" || dvc status --quiet || \
		for group in prepare '(pretrain|ablate)(_again)?|baseline' 'finetune(_again)?' \
			'evaluate|generalize|steps|parts|delivered|publish' 'tables|figures'; do \
		{ dvc status 2>/dev/null || true; } | sed -nE "s/^(($$group)(@.+)?):$$/\1/p" | \
			xargs -r -P 2 -n 1 dvc --wait-for-lock repro --single-item; done
	@dvc repro
	@rm -rf results/$(CHOSEN)/checkpoints
	@ssdiff-study show
	@python -m ssdiff.reproduced finish

adopt: $(READY) ## put the results of the last `make reproduce` in the place of the committed ones
	@$(or $(PYTHON),python3) -c "$$ALONE" $(BIN)/python -m ssdiff.reproduced adopt

test: $(READY) data ## run every page, compare what it shows with what is committed, then run tests/
	python docs/pages.py check
	OMP_NUM_THREADS=1 pytest -q -n 2 --dist loadfile tests

pages: $(READY) data ## run the pages and write into them what they show (PAGES="nbs/index.ipynb ...": these only)
	@python docs/pages.py write $(PAGES)

docs: $(READY) ## build the site from the pages as they are, in site/ (open site/index.html; no server is needed)
	@NO_MKDOCS_2_WARNING=1 mkdocs build --quiet
	@echo "site/index.html"

status: $(READY) data ## say which stages are out of date and why, in a few lines
	@$(or $(PYTHON),python3) -c "$$ALONE" $(MAKE) --no-print-directory status-alone || ssdiff-study status

# With what the last run left, which waits out of git's way; not while another one is at work.
status-alone:
	@python -m ssdiff.reproduced take_up
	@ssdiff-study status
	@python -m ssdiff.reproduced finish > /dev/null

plots: $(READY) ## draw learning curves and scores, to be looked at in results/demo/plots/index.html
	@ssdiff-study run nbs/curves.ipynb results/$(CHOSEN)/notebooks/curves.ipynb \
		-p results results/$(CHOSEN) -p pictures results/$(CHOSEN)/plots
	@echo "Open results/$(CHOSEN)/plots/index.html in a browser."

bench: $(READY) ## measure time and memory against the formulas written out (7 minutes on two idle cores)
	@ssdiff-study run nbs/bench.ipynb results/bench/notebooks/bench.ipynb -p quick false -p results results
	@cat results/bench/bench.md

lab: $(READY) data ## open JupyterLab on the notebooks (they are cleaned when saved, outputs stay)
	@jupyter lab --config=.jupyter/jupyter_server_config.py --LabApp.default_url=/lab/tree/nbs/index.ipynb

readme: $(READY) ## write README.md from nbs/index.ipynb
	@ssdiff-study readme

constraints: ## resolve requirements.txt again for Python 3.10-3.12 (needs uv)
	@uv pip compile --universal --python-version 3.10 --no-annotate --no-header --upgrade --quiet requirements.txt \
		| grep -vE '^(torch|triton|numpy|scipy|pandas|matplotlib|nvidia-[a-ln-z][a-z0-9-]*|cuda-[a-z]+)==' > constraints.txt

hooks: $(READY) ## install the git hooks (clean and export before a commit, merge notebooks cell by cell)
	@git config --local include.path ../.gitconfig
	@python -m pip install --quiet pre-commit && pre-commit install

clean: ## remove the environment, keep data and results
	rm -rf $(VENV) build dist *.egg-info
