# Every target sets up what it needs in .venv; Python 3.11+, make and a C++ compiler are assumed, root never.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BOARDS_STAMP := $(VENV)/.installed-boards
SIM ?= icarus
SEED ?= 1
COUNT ?= 20
CI_BOARD ?= ulx3s_12f
FUZZERS := $(foreach file,$(wildcard tests/fuzz/*.py),$(if $(findstring test_,$(file)),,$(file)))
FUZZERS := $(filter-out %/harness.py,$(FUZZERS))
# One thread a process: two OpenMP threads on two loaded cores are slower than one.
export OMP_NUM_THREADS ?= 1

.PHONY: agreement docs wheel wheel-test demo demo-board demo-crossbar crossbar-curves test fuzz fuzz-models commands formal lint regression mutants bench netlist tile bitstream bitstream-ci flash apt-icarus apt-chromium clean help

help:
	@echo "make demo        prune, quantize, compile and run the bundled network on the simulated accelerator"
	@echo "make demo-board  BOARD=ulx3s_85f: the same network, or NET=vgg_small, on a board's simulated gateware -> build/demo-board"
	@echo "make demo-crossbar: the network pruned for RRAM crossbars in all ways, side by side -> build/demo-crossbar"
	@echo "make crossbar-curves: accuracy against energy and compression of all ways, at many densities, resumable (hours; CURVES_ARGS=--quick)"
	@echo "make test        all tests (a few minutes)"
	@echo "make commands    every command that the documents show, in a small form"
	@echo "make fuzz        malformed files of all kinds, thousands of each: SEED=n"
	@echo "make fuzz-models malformed ONNX and TFLite files alone, the faults kept in build/fuzz: COUNT=10000 SEED=n"
	@echo "make agreement   onnx's node tests, and COUNT random graphs against onnxruntime: COUNT=500 SEED=first seed"
	@echo "make formal      the proofs of the gateware alone"
	@echo "make lint        ruff and mypy"
	@echo "make docs        the pages and the API as HTML -> build/docs"
	@echo "make wheel       -> dist"
	@echo "make wheel-test  the wheel in an empty environment away from here: boards, demo, examples"
	@echo "make regression  cocotb testbenches: SIM=icarus|verilator, SEED=first seed, COUNT=seeds "
	@echo "make mutants     mistakes made in copies of the sources, and whether the tests notice -> build/mutants.json"
	@echo "make apt-icarus  installs Icarus Verilog with apt-get (root), for SIM=icarus"
	@echo "make apt-chromium: installs a browser without a window with apt-get (root), for a test of explore.html"
	@echo "make bench       cycles of the reference layer, VGG16 and ResNet-18 -> build/bench/array.json"
	@echo "make netlist     demo network on the synthesized netlist and on the RTL, all words compared -> build/netlist.json"
	@echo "make tile        500 random layers on random crossbar tiles, outputs and counts compared -> build/tile.json"
	@echo "make bitstream   BOARD=ulx3s_85f [CONFIG=FILE.toml] [SEEDS=n] -> build/BOARD: bitstream, summary.json"
	@echo "make bitstream-ci: a small board's bitstream in a few minutes, with its summary checked -> build/ci"
	@echo "make flash       BOARD=ulx3s_85f [BITSTREAM=FILE]: loads the bitstream of build/BOARD into the board"

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP)
	$(BIN)/steelyard demo $(DEMO_ARGS)

demo-board: $(STAMP)
	@test -n "$(BOARD)" || { echo "error: Name a board, for example 'make demo-board BOARD=ulx3s_85f'; 'steelyard boards' lists them." >&2; exit 2; }
	$(BIN)/steelyard demo-board --board $(BOARD) $(if $(NET),--network $(NET)) $(DEMO_ARGS)

demo-crossbar: $(STAMP)
	$(BIN)/steelyard demo-crossbar $(DEMO_ARGS)

crossbar-curves: $(STAMP)
	$(BIN)/python experiments/crossbar_curves.py $(CURVES_ARGS)

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 $(TEST_ARGS)

fuzz: $(STAMP)
	@for script in $(FUZZERS); do echo "$$script" && $(BIN)/python $$script --seed $(SEED) || exit 1; done

# Seven of ten files are ONNX, the others TFLite; what ends in a fault is kept.
fuzz-models: $(STAMP)
	$(BIN)/python tests/fuzz/networks.py --count $$(($(COUNT) * 7 / 10)) --seed $(SEED) --keep build/fuzz/onnx
	$(BIN)/python tests/fuzz/tflite_files.py --count $$(($(COUNT) * 3 / 10)) --seed $(SEED) --keep build/fuzz/tflite

# Some of them place and route.
commands: $(STAMP) $(BOARDS_STAMP)
	$(BIN)/python tests/commands/small.py

agreement: $(STAMP)
	PYTHONPATH=tests/support $(BIN)/python -m agreement.node_tests
	PYTHONPATH=tests/support $(BIN)/python -m agreement.zoo
	PYTHONPATH=tests/support $(BIN)/python -m agreement.random_graphs --count $(COUNT) --seed $(SEED)

formal: $(STAMP)
	$(BIN)/python -m pytest -n 2 tests/formal

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_pages.py

docs: $(STAMP)
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs build/docs

wheel:
	$(PYTHON) -m pip wheel --quiet --disable-pip-version-check --no-deps -w dist .

wheel-test:
	$(PYTHON) tests/packaging/wheel.py

regression: $(STAMP)
	$(BIN)/python tests/cocotb/regression.py --sim $(SIM) --seed $(SEED) --count $(COUNT)

mutants: $(STAMP)
	$(BIN)/python tests/mutants/mutants.py $(MUTANTS_ARGS)

bench: $(STAMP)
	$(BIN)/steelyard bench -o build/bench/array.json $(BENCH_ARGS)

netlist: $(STAMP)
	$(BIN)/python -m steelyard_sim.runs.netlist --json build/netlist.json $(NETLIST_ARGS)

tile: $(STAMP)
	$(BIN)/python -m steelyard_sim.runs.tile --json build/tile.json $(TILE_ARGS)

# Needs nothing of the other targets: a fresh clone installs only what builds bitstreams.
$(BOARDS_STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[boards]'
	@touch $@

# A board's name, or a sentence and exit status 2.
NAMED = @test -n "$(BOARD)" || { echo "error: Name a board, for example 'make $@ BOARD=ulx3s_85f'; 'steelyard boards' lists them." >&2; exit 2; }

bitstream: $(BOARDS_STAMP)
	$(NAMED)
	$(BIN)/steelyard bitstream $(BOARD) $(if $(SEEDS),--seeds $(SEEDS)) $(if $(CONFIG),--config $(CONFIG))

# Two seeds, side by side, of the smallest ECP5 board: what .ci/run builds.
bitstream-ci: $(BOARDS_STAMP)
	$(BIN)/steelyard bitstream $(CI_BOARD) --seeds 2 -o build/ci
	$(BIN)/python tests/steelyard_boards/built.py build/ci
	$(BIN)/python tests/steelyard_boards/places.py

flash: $(BOARDS_STAMP)
	$(NAMED)
	$(BIN)/steelyard flash $(BOARD) $(if $(BITSTREAM),--bitstream $(BITSTREAM))

# Icarus is a system package and needs root; SIM=verilator needs nothing beyond .venv.
apt-icarus:
	command -v iverilog || { apt-get update && apt-get install -y iverilog; }

# The test of an exploration's page is left out where there is no browser.
apt-chromium:
	command -v chromium-headless-shell || { apt-get update && apt-get install -y --no-install-recommends chromium-headless-shell; }

clean:
	rm -rf build $(VENV)
