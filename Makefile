# `make demo` and `make test` set up everything they need: .venv, from requirements.lock.
.PHONY: setup demo test check evidence people bench serve docs clean

ASSENT := .venv/bin/assent
PYTEST := .venv/bin/python -m pytest

setup: .venv/.done

.venv/.done: requirements.lock pyproject.toml scripts/setup
	@scripts/setup

demo: setup            ## the whole loop on the embedded world, then where to look
	@$(ASSENT) demo $(ARGS)

test: setup            ## everything that must hold, under 10 minutes on 2 cores
	@OMP_NUM_THREADS=1 $(PYTEST) -n 2 --dist worksteal -m "not evidence" $(ARGS)

check: setup           ## format, lint, types
	@.venv/bin/ruff format --check src tests
	@.venv/bin/ruff check src tests
	@.venv/bin/mypy -p assent.core -p assent.config -p assent.artifacts -p assent.stats -p assent.formats -p assent.report -p assent.ops -p assent.losses -p assent.advantages -p assent.feedback -p assent.web -p assent.serving

# Rounding decides which of several models a seed becomes. These settings make it the same on every x86 CPU.
evidence: setup        ## the measured claims, in full; resumable, hours
	@MKL_CBWR=COMPATIBLE ATEN_CPU_CAPABILITY=avx2 .venv/bin/python -m assent.experiments.claims $(ARGS)

people: setup          ## the rating service's claims, about an hour: 1,000 submits and SIGKILL, 200 raters, coverage
	@OMP_NUM_THREADS=1 $(PYTEST) -s -m evidence
	@.venv/bin/python -m benchmarks.rating_load --db sqlite
	@.venv/bin/python -m benchmarks.rating_load --db postgresql

bench: setup           ## every row of docs/performance.md, about an hour; ARGS="dpo --peer trl" for one
	@.venv/bin/python -m benchmarks $(or $(ARGS),all); code=$$?; .venv/bin/python -m benchmarks --table; exit $$code

serve: setup           ## collect judgments from people: http://127.0.0.1:8000
	@$(ASSENT) serve $(ARGS)

docs: setup            ## figures in README and docs, filled from runs/
	@.venv/bin/python scripts/fill_docs.py

clean:                 ## what setup and runs made
	rm -rf .venv runs .pytest_cache .mypy_cache .ruff_cache
