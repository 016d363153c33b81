# make demo   train, evaluate, query, export and report a speech-style retrieval model on corpora made here
# make test   run the tests
# make page   the page in the browser, with the models of the demo
# make browser  install Chromium for the tests of the pages, where Debian's packages can be had
# make check  lint, formatting and the direction of imports
# make bench  side-by-side timings
# make study  train the runs of a plan, test them, write docs/study.md (hours; goes on where it was stopped)
# make siblings  the same for ParaSpeechCLAP and EmotionRankCLAP, docs/study_siblings.md
# make readme put the tables of the last demo and study into README.md
SHELL := /bin/bash
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export RACLAP_CACHE ?= $(HOME)/.cache/raclap/corpora
export TOKENIZERS_PARALLELISM := false
export HF_HUB_OFFLINE ?= 1

DEMO := runs/demo
CORPORA := prompt_like textrol_like craft_like

.PHONY: demo test browser page check bench study siblings readme clean

# torch first and by its exact version: a CPU build is enough, and a range could pull in gigabytes of CUDA.
$(VENV)/.installed: setup.cfg constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "torch==2.13.0"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[demo,test]"
	touch $@

demo: $(VENV)/.installed
	$(BIN)/raclap prepare embedded
	$(BIN)/python train.py --recipe configuration/demo/ess_clap.yaml
	$(BIN)/python distill.py --recipe configuration/demo/ra_clap.yaml
	$(BIN)/python evaluate_retrieval.py --model ess_clap=$(DEMO)/export --model ra_clap=$(DEMO)_ra_clap/export \
	  $(foreach corpus,$(CORPORA),--manifest $(corpus)="$(RACLAP_CACHE)/$(corpus)/manifest.parquet") \
	  --output $(DEMO)/results.json --figure $(DEMO)/results.png --table $(DEMO)/results.txt
	$(BIN)/python examples/search_clips.py $(DEMO)_ra_clap/export "$(RACLAP_CACHE)/prompt_like/audio/test" \
	  "a man with a deep voice, talking slowly and very quietly" \
	  "a loud, fast female speaker" \
	  "a lady who speaks at a leisurely pace in a high-pitched voice"
	$(BIN)/raclap export $(DEMO)_ra_clap $(DEMO)_hub --results $(DEMO)/results.intervals.json
	$(BIN)/raclap report $(DEMO)_ra_clap

test: $(VENV)/.installed
	$(BIN)/python -m pytest --numprocesses 2

# Without Chromium the tests of the pages are skipped.
browser:
	command -v chromium || { [ "$$(id -u)" = 0 ] && apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends chromium > /dev/null; } || \
	  echo "no Chromium, and no way to install it: the tests of the pages will be skipped"

page: $(VENV)/.installed
	$(BIN)/python app.py

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

bench: $(VENV)/.installed
	for program in benchmarks/*.py; do $(BIN)/python $$program; done

study: $(VENV)/.installed
	$(BIN)/raclap prepare embedded
	$(BIN)/python study.py --plan configuration/demo/study.yaml

siblings: $(VENV)/.installed
	$(BIN)/raclap prepare embedded
	$(BIN)/python study.py --plan configuration/demo/siblings.yaml

# After a change that moves the figures: the tables of the last demo and study, where there are any, into README.md.
readme: $(VENV)/.installed
	$(BIN)/python docs/put_results_into_readme.py --demo $(DEMO)/results.txt --study runs/study/study.json \
	  --siblings runs/siblings/study.json

clean:
	rm -rf $(VENV) build dist *.egg-info
