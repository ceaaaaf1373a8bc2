# Two commands: `make run` and `make test`. Each makes the environment that it needs.
# The README gives the same steps for systems without make.

PYTHON ?= python3
VENV   ?= .venv
JOBS   ?= 2
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: run test nightly mutation full report bench lint notebooks site clean
.DEFAULT_GOAL := run

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	@touch $(STAMP)

run: $(STAMP)        ## install, get the data, execute every notebook, print the answer to each question
	$(BIN)/coursework data fetch
	$(BIN)/coursework data status
	$(BIN)/coursework run

test: $(STAMP) lint  ## everything that CI runs
	$(BIN)/python -m pytest tests -n $(JOBS) --dist loadfile --cov
	$(BIN)/python -m pytest notebooks -n $(JOBS) --dist loadfile --nbval-lax --nbval-current-env

nightly: $(STAMP)    ## many kills, many processes, thousands of fuzzed inputs, notebooks without data (half an hour)
	TRUST_CASES=50 TRUST_SEED=$$(date +%Y%m%d) $(BIN)/python -m pytest tests/trust -m nightly
	TRUST_CASES=50 $(BIN)/python -m pytest tests/trust/test_fuzz.py
	COURSEWORK_DATA= COURSEWORK_OFFLINE=1 COURSEWORK_CACHE=$$(mktemp -d) $(BIN)/coursework run

mutation: $(STAMP)   ## change one thing of models, theory and metrics at a time: do the tests notice? (half an hour)
	$(BIN)/python tests/trust/mutate.py

lint: $(STAMP)       ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

full: $(STAMP)       ## the reported results, on the real data (more than a day on a laptop)
	$(BIN)/coursework train sentiment --preset full --seeds 3
	$(BIN)/coursework train sentiment --preset pretrained --seeds 3
	$(BIN)/coursework train minilm --preset full
	$(BIN)/coursework train minilm --preset frozen
	$(BIN)/coursework train distillation --preset full --resume
	$(BIN)/coursework train minilm --preset taught
	$(BIN)/coursework train minilm --preset again
	$(BIN)/coursework train minilm --preset refit
	$(BIN)/coursework train sentiment_study --preset full
	$(BIN)/coursework train sentiment_study --preset labels --seeds 3
	$(BIN)/coursework train sentiment_study --preset all
	$(BIN)/coursework train tweets --preset full
	$(BIN)/coursework train translation --preset full --seeds 3
	$(BIN)/coursework train translation --preset full-pretrained --seeds 3
	$(BIN)/coursework train translation_ensemble --preset full --resume
	$(BIN)/coursework train translation_ensemble --preset own --resume
	$(BIN)/coursework train translation --preset tutorial
	$(BIN)/coursework train translation --preset tutorial-leaky
	$(BIN)/coursework train translation_all --preset full
	$(BIN)/coursework train translation_all --preset ensemble --resume
	$(BIN)/coursework train translation_taught --preset full
	$(BIN)/coursework train translation_all --preset brief
	$(BIN)/coursework train translation_all --preset brief-pretrained
	$(BIN)/coursework train translation_all --preset rnn
	$(BIN)/coursework train translation_all --preset rnn-pretrained
	$(BIN)/coursework train wikipedia --preset full --seeds 10
	$(BIN)/coursework train wikipedia --preset squirrel --seeds 10
	$(BIN)/coursework train wikipedia --preset crocodile --seeds 10
	$(BIN)/coursework train wikipedia --preset squirrel-plain --seeds 10
	$(BIN)/coursework train wikipedia --preset crocodile-plain --seeds 10
	$(BIN)/coursework train wikipedia --preset baselines --seeds 10
	$(BIN)/coursework train wikipedia --preset baselines-squirrel --seeds 10
	$(BIN)/coursework train wikipedia --preset baselines-crocodile --seeds 10
	$(BIN)/coursework train wikipedia --preset sign --seeds 10
	$(BIN)/coursework train wikipedia --preset stacked --seeds 10
	$(BIN)/coursework train wikipedia --preset strict --seeds 10
	$(BIN)/coursework train wikipedia --preset sign-squirrel --seeds 10
	$(BIN)/coursework train wikipedia --preset stacked-squirrel --seeds 10
	$(BIN)/coursework train wikipedia --preset carried-squirrel --seeds 10
	$(BIN)/coursework train wikipedia --preset strict-squirrel --seeds 10
	$(BIN)/coursework train wikipedia --preset sign-crocodile --seeds 10
	$(BIN)/coursework train wikipedia --preset stacked-crocodile --seeds 10
	$(BIN)/coursework train wikipedia --preset carried-crocodile --seeds 10
	$(BIN)/coursework train wikipedia --preset strict-crocodile --seeds 10
	$(BIN)/coursework train wikipedia_study --preset full --seeds 3
	$(BIN)/coursework train wikipedia_study --preset strict --seeds 10
	$(BIN)/coursework train wikipedia_study --preset strict-squirrel --seeds 10
	$(BIN)/coursework train large_graph --preset full
	$(BIN)/coursework train cora --preset full --seeds 20
	$(BIN)/coursework train cora --preset control --seeds 20
	$(BIN)/coursework train cora --preset converged --seeds 20
	$(BIN)/coursework train cora --preset best --seeds 20
	$(BIN)/coursework train cora --preset planetoid --seeds 100
	$(BIN)/coursework train cora --preset grand --seeds 20
	$(BIN)/coursework train cora --preset gcnii --seeds 20
	$(BIN)/coursework train cora --preset gcnii-random --seeds 20
	$(BIN)/coursework train cora --preset citeseer --seeds 10
	$(BIN)/coursework train cora_study --preset full --seeds 3
	$(BIN)/coursework train segmentation --preset full --seeds 5
	$(BIN)/coursework train segmentation --preset deep
	$(BIN)/coursework report

report: $(STAMP)     ## condense the recorded results into the headline and the README, typeset the writeup
	$(BIN)/coursework report

bench: $(STAMP)      ## our layers against the libraries'
	$(BIN)/coursework bench

notebooks: $(STAMP)  ## regenerate the stored outputs and figures (real data only)
	$(BIN)/coursework run --inplace

site: $(STAMP)       ## static pages of notebooks, theory, benchmark and reference, in build/site
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[site]"
	$(BIN)/coursework site

clean:               ## remove what can be made again; keeps the data cache
	rm -rf build .pytest_cache .mypy_cache .ruff_cache
