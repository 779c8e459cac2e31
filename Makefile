# drexnode: `make run` shows it, `make check test` proves it, `make bench` measures it.
PYTHON ?= python3
SEED    ?= 42
MINUTES ?= 1
SCHEDULES ?= 1000
SECONDS ?= 60
JOBS    ?= 2
BENCH   ?= build/bench
VENV   := .venv
BIN    := $(VENV)/bin
ROOMS  := primitives ledger consensus storage p2p drexnode genesis scripts tests

.DEFAULT_GOAL := help
.PHONY: help promtool setup run test test-long test-fast ledger-mutants replay-million fuzz sim sim-search sim-mutants sim-nodes sim-nodes-search coverage bench bench-full bench-plots bench-storage-million bench-engines faults partition netns-run interop attacks soak crash durability catch-up vectors docs pictures check format lock clean

help:  ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(VENV)/.installed  ## Make .venv from the lock file (wheels only, no compiler)

$(VENV)/.installed: requirements/dev.lock pyproject.toml
	@echo "setup: making $(VENV) from requirements/dev.lock"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
	    --only-binary :all: --no-binary varint,python-baseconv -r requirements/dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

run: setup  ## Start a local network of six nodes, move money, keep running until Ctrl-C
	@$(BIN)/drexnode devnet up --demo

test: setup  ## Pass every test of the normal suite
	@$(BIN)/pytest -q

test-long: setup  ## The tests that take minutes too: every attack, every measurement at a tiny size
	@DREX_LONG_TESTS=1 $(BIN)/pytest -q tests/attacks tests/bench

test-fast: setup  ## The same without the tests that start node processes
	@$(BIN)/pytest -q -m "not network and not slow"

ledger-mutants: setup  ## Take each rule of the ledger out and show that a property test fails
	@$(BIN)/python -m tests.ledger.mutants

replay-million: setup  ## A million transactions of every kind, replayed by two fresh processes with other hash seeds
	@$(BIN)/python -m tests.ledger.million

fuzz: setup  ## Fuzz every decoder with libFuzzer, each for a while: make fuzz SECONDS=600 JOBS=2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
	    --only-binary :all: -r requirements/fuzz.lock
	@$(BIN)/python -m tests.fuzz.campaign --seconds $(SECONDS) --jobs $(JOBS)

sim: setup  ## Replay one schedule of the consensus simulator: make sim SEED=42
	@$(BIN)/python -m tests.simulator --seed $(SEED)

sim-search: setup  ## Search for a schedule that breaks a promise, on all cores: make sim-search MINUTES=10
	@$(BIN)/python -m tests.simulator search --minutes $(MINUTES)

sim-nodes: setup  ## Replay one schedule of whole nodes: make sim-nodes SEED=42
	@$(BIN)/python -m tests.wholenode --seed $(SEED)

sim-nodes-search: setup  ## Search whole-node schedules for a broken promise, on all cores: SCHEDULES=10000
	@$(BIN)/python -m tests.wholenode search --schedules $(SCHEDULES)

sim-mutants: setup  ## Take each rule of consensus out and show that the simulator finds it; play all twins
	@$(BIN)/python -m tests.simulator mutants
	@$(BIN)/python -m tests.simulator twins
	@$(BIN)/python -m tests.wholenode mutants

coverage: setup  ## Branch coverage of consensus/ by scenarios and simulator alone
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -q tests/scenarios tests/simulator
	@$(BIN)/coverage report --show-missing --skip-covered

bench: setup  ## Measure one node's stages, then four validators with a backlog, quickly (under 3 minutes)
	@$(BIN)/python -m scripts.bench.pipeline --transactions 4000
	@$(BIN)/python -m scripts.bench.network --seconds 6 --payments 40 --rate 500 --out $(BENCH)/quick.json

bench-full: setup  ## All measurements, then their plots (hours): figures in build/bench, plots in docs/performance
	@$(BIN)/python -m scripts.bench.pipeline --repeat 5
	@$(BIN)/python -m scripts.bench.pipeline --repeat 5 --wallets 1
	@$(BIN)/python -m scripts.bench.ledger
	@$(BIN)/python -m scripts.bench.storage
	@$(BIN)/python -m scripts.bench.network --seconds 60 --out $(BENCH)/network.json
	@$(BIN)/python -m scripts.bench.network --seconds 20 --load interbank --load one-holder --quick --out $(BENCH)/loads.json
	@$(BIN)/python -m scripts.bench.network --seconds 20 --validators 4 --validators 7 --validators 10 --quick --out $(BENCH)/sizes.json
	@$(BIN)/python -m scripts.bench.latency --out $(BENCH)/latency.json
	@$(BIN)/python -m scripts.bench.one --out $(BENCH)/one.json
	@$(BIN)/python -m scripts.bench.down --out $(BENCH)/down.json
	@$(BIN)/python -m scripts.bench.observe --blocks 1000 --chain $(BENCH)/chain --out $(BENCH)/observe.json
	@$(BIN)/python -m scripts.bench.big_state --out $(BENCH)/state.json
	@$(BIN)/python -m scripts.bench.model --out $(BENCH)/model.json
	@$(BIN)/python -m scripts.bench.plots --dir $(BENCH) --out docs/performance

bench-plots: setup  ## Draw the plots of docs/performance from the figures in build/bench
	@$(BIN)/python -m scripts.bench.plots --dir $(BENCH) --out docs/performance

bench-storage-million: setup  ## Memory, start, lookups, blocks at 10 k and 1 M outputs: make bench-storage-million SIZES="10000 5000000"
	@$(BIN)/python -m scripts.bench.million $(SIZES:%=--outputs %)

bench-engines: setup  ## LevelDB beside RocksDB and LMDB, as ratios, at a million outputs
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
	    --only-binary :all: -r requirements/bench.lock
	@$(BIN)/python -m scripts.bench.engines

faults: setup  ## One validator of four dead, one an hour wrong, one voted in and one out: under load, with figures
	@$(BIN)/python -m tests.network.dead_validator
	@$(BIN)/python -m tests.network.clock_offset
	@$(BIN)/python -m tests.network.membership

partition: setup  ## Four validators two and two apart for 60 s, three times (network namespaces; Linux)
	@$(BIN)/python -m tests.netns.partition --seconds 60 --rounds 3

netns-run: setup  ## Ten nodes 40 ms apart under load, kills and partitions: make netns-run MINUTES=10
	@$(BIN)/python -m tests.netns.run --minutes $(MINUTES)

interop: setup  ## A js-libp2p observer follows heads and verifies certificates (Node.js 20, npm)
	@cd scripts/interop && npm ci --no-audit --no-fund --silent
	@$(BIN)/python -m scripts.interop.run

attacks: setup  ## Fourteen attacks on a validator under load: memory, processor, block interval
	@$(BIN)/python -m tests.attacks.run

soak: setup  ## Load with peers that come and go, slopes and a plot: make soak MINUTES=45
	@$(BIN)/python -m tests.network.soak --minutes $(MINUTES) --out soak.svg

crash: setup  ## Kill a network twenty times under load, a store a thousand times, flip 500 bits (long)
	@$(BIN)/python -m tests.crash.network_kills --rounds 20 --transactions 45000
	@$(BIN)/python -m tests.crash.kill_loop --count 1000 --points 200
	@$(BIN)/python -m tests.crash.vote_kills --count 500
	@$(BIN)/python -m tests.crash.bit_flips --count 500
	@$(BIN)/python -m tests.crash.power_cuts

durability: setup  ## Trace the syncs before each vote and each final block (needs strace)
	@$(BIN)/python -m tests.crash.fsync_trace

catch-up: setup  ## Let an observer catch up 2,000 blocks from nothing
	@$(BIN)/python -m tests.network.catch_up --blocks 2000

vectors: setup  ## Write tests/vectors/*.json again and check them with the independent checker
	@$(BIN)/python -m scripts.vectors
	@$(BIN)/python tests/vectors/check_vectors.py

docs: setup  ## Make the handbook as a site in build/site; a dead link is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "docs: build/site/index.html"

pictures: setup  ## Record the five-minute start and take the pictures of the documentation anew
	@$(BIN)/python -m scripts.recording --dir build/recording
	@$(BIN)/drexnode devnet up --demo --detach --dir build/pictures
	@$(BIN)/python -m scripts.pictures --dir build/pictures; $(BIN)/drexnode devnet down --dir build/pictures

check: setup  ## Format, lint, types, import contract
	@$(BIN)/ruff format --check $(ROOMS)
	@$(BIN)/ruff check $(ROOMS)
	@$(BIN)/mypy $(ROOMS)
	@$(BIN)/lint-imports --no-cache

format: setup  ## Put every file into the project's format
	@$(BIN)/ruff format $(ROOMS)
	@$(BIN)/ruff check --fix $(ROOMS)

promtool:  ## Unpack Prometheus's promtool from Debian's package into build/promtool, for the tests of alerts and metrics
	@mkdir -p build/promtool && cd build/promtool && apt-get download prometheus && dpkg -x prometheus_*.deb . && rm prometheus_*.deb
	@build/promtool/usr/bin/promtool --version 2>&1 | head -1

lock: setup  ## Resolve requirements/*.in again into the lock files
	@$(BIN)/python -m pip install --quiet uv
	@for name in runtime dev fuzz bench; do $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
	    --generate-hashes --no-emit-index-url --override requirements/overrides.txt \
	    requirements/$$name.in --output-file requirements/$$name.lock; done

clean:  ## Remove what tools left behind (never a node's data)
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
