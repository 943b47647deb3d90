PYTHON ?= python3
BIN := .venv/bin
DEMO := demo
# As many at once as there are cores; a file's tests share what they have made.
PYTEST := $(BIN)/python -m pytest -n logical --maxprocesses=8 --dist=loadfile --no-loadscope-reorder
READY := .venv/.ready
# Memory in huge pages. Larger caches of threads (tcache_count) would let torch's memory grow without end.
export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1
# For benches whose calls ask for much at once, which the system otherwise takes back and clears anew.
ONE_ARENA := glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=100000000000:glibc.malloc.top_pad=100000000:glibc.malloc.arena_max=1
EXTRAS := tests/parity tests/weights tests/generate/export_test.py tests/generate/layouts_test.py tests/generate/release_files_test.py tests/text/minilm_test.py tests/data/prepare_test.py tests/worlds/solid_test.py

.PHONY: demo test test-long test-slow chaos notebook parity aot bench-codec bench-peers bench-judges lint clean

$(READY): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(READY)  ## train on Big Buck Bunny and sample (4 to 17 minutes on 2 cores)
	$(BIN)/python tools/demo.py --out=$(DEMO)

test: $(READY)  ## unit and end-to-end tests (7 to 25 minutes on 2 cores)
	$(PYTEST) --durations=30 -m 'not slow and not long and not parity'

test-long: $(READY)  ## codecs trained and a model judged, every stage by its program; plans beside compiled programs
	$(PYTEST) -m long

test-slow: $(READY)  ## 20 random kill -9's, two processes, the README's programs (about 40 minutes)
	$(BIN)/python -m pytest -m slow

chaos: $(READY)  ## 100 signals to a run of two processes, at random (1½ to 3 hours)
	$(BIN)/python tools/chaos.py --out=build/chaos --kills=100

notebook: $(READY)  ## runs the Colab notebook with two training steps (about 5 minutes)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check '.[notebook]'
	SORAJAX=$(CURDIR) SORAJAX_STEPS=2 SORAJAX_OUT=$(CURDIR)/build/notebook/out $(BIN)/jupyter nbconvert \
	  --to notebook --execute --output-dir build/notebook launch/colab.ipynb

parity: $(READY)  ## against torch references, and what needs an extra (installs torch)
	$(BIN)/python -m pip install --quiet 'torch==2.13.0'
	$(BIN)/python -m pip install --quiet --editable '.[dev,parity,beam,mujoco]'
	$(PYTEST) -m 'not slow' $(EXTRAS)

aot: $(READY)  ## compiles real programs for TPUs and GPUs that are not here (half an hour, installs their compilers)
	$(BIN)/python -m pip install --quiet --editable '.[dev,tpu,gpu]'
	$(BIN)/python -m pytest tests/plan
	$(BIN)/python tools/plan_ladder.py

bench-codec: $(READY)  ## the autoencoder beside diffusers' on the same cores (2 minutes, installs torch)
	$(BIN)/python -m pip install --quiet 'torch==2.13.0'
	$(BIN)/python -m pip install --quiet --editable '.[dev,parity]'
	GLIBC_TUNABLES=$(ONE_ARENA) $(BIN)/python tools/bench_codec.py

bench-peers: $(READY)  ## the transformer beside diffusers' on the same cores (5 to 15 minutes, installs torch)
	$(BIN)/python -m pip install --quiet 'torch==2.13.0'
	$(BIN)/python -m pip install --quiet --editable '.[dev,parity]'
	GLIBC_TUNABLES='$(subst top_pad=100000000,top_pad=2000000,$(ONE_ARENA))' \
	  $(BIN)/python tools/bench_peers.py --types=float32,bfloat16

bench-judges: $(READY)  ## the judges of the generated world on truth and on planted faults (9 minutes)
	$(BIN)/python tools/bench_judges.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv .pytest_cache $(DEMO) build dist *.egg-info
