# Everything runs inside .venv, which the first target that needs it builds; nothing has to be activated.
# Another interpreter: make test PYTHON=python3.12. More options for pip: make install PIP_ARGS="...".
PYTHON ?= python3
PIP_ARGS ?=
DEMO_OUTPUT ?= cina-demo
# Folder of the published benchmark tables, which do not ship with the project: make bench DATA=FOLDER.
DATA ?=
ECONML ?= $(BIN)/python
# Tag of a release to check: make release-check TAG=v0.1.0.
TAG ?=
# Release of DoWhy whose own tests are run: make test-host DOWHY=0.13; the installed one if empty.
DOWHY ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
NEWEST := .venv-newest

.PHONY: install demo test test-weekly test-host test-newest lint docs bench bench-scale bench-refutation bench-accuracy bench-balance bench-coverage bench-varying bench-effects bench-cate bench-trust bench-processes bench-registry bench-checkpoints bench-landmarks bench-labels bench-columns bench-differences bench-steps bench-waves bench-keys symmetries fuzz faults paper wheel release-check clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if (3, 10) <= v[:2] < (3, 14) else "expected Python 3.10 to 3.13, got %d.%d: name another one with make PYTHON=python3.12" % v[:2])'
	@echo "Building $(VENV): a few minutes, once."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[plots,dask,parquet,docs,dev]'
	@touch $@

demo: $(STAMP)
	$(BIN)/dowhy-cina demo --output $(DEMO_OUTPUT)

test: $(STAMP)
	$(BIN)/python -m pytest

# What takes too long for every change.
test-weekly: $(STAMP)
	$(BIN)/python -m pytest -m weekly

test-host: $(STAMP)
	$(BIN)/python tests/host/run.py $(if $(DOWHY),--dowhy $(DOWHY))

# The newest releases that install together, of everything but torch, in an environment that is built anew each time.
test-newest:
	$(PYTHON) -m venv --clear $(NEWEST)
	$(NEWEST)/bin/python -m pip install --disable-pip-version-check $(PIP_ARGS) "$$(grep '^torch==' constraints.txt)" -e '.[plots,dask,parquet,dev]'
	$(NEWEST)/bin/python -m pip freeze | grep -E '^(dowhy|numpy|pandas|scipy|torch)=='
	PYTHONPATH=tests/host $(NEWEST)/bin/python -m pytest -p known_failures

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(STAMP)
	@echo "Building the documentation; the first time its examples run, for some minutes."
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html



# Both archives in dist/, and the wheel tried in an environment that sees nothing but it and what it requires.
wheel: $(STAMP)
	$(BIN)/python tests/release/wheel.py

# What must agree before a release: versions, changelog, citation, archives, their metadata, the documentation.
release-check: wheel docs
	$(BIN)/python tests/release/check.py $(if $(TAG),--tag "$(TAG)")

bench: $(STAMP)
	@test -n "$(DATA)" || { echo "expected the folder of the benchmark tables: make bench DATA=FOLDER" >&2; exit 2; }
	$(BIN)/python benchmarks/tables.py --data "$(DATA)" --csv docs/measured/tables.csv
	-$(ECONML) benchmarks/dml.py --data "$(DATA)" --csv docs/measured/dml.csv
	$(MAKE) bench-scale

# Time and memory beside other estimators, and through Dask; ECONML=PYTHON names an interpreter that has EconML.
bench-scale: $(STAMP)
	$(BIN)/python benchmarks/scale.py --econml "$(ECONML)" --csv docs/measured/scale.csv --plot docs/measured/scale.png
	$(BIN)/python benchmarks/partitions.py --csv docs/measured/partitions.csv

# Seconds of the refutation battery beside DoWhy's loop, and of a whole session; what fewer landmarks change in refits.
bench-refutation: $(STAMP)
	$(BIN)/python benchmarks/refutation.py --csv docs/measured/refutation.csv
	$(BIN)/python benchmarks/session.py
	$(BIN)/python benchmarks/refits.py --tables 24 $(if $(DATA),--data "$(DATA)") --csv docs/measured/refits.csv

# How often intervals hold the effect, on published tables too with DATA=FOLDER.
bench-coverage: $(STAMP)
	$(BIN)/python benchmarks/intervals.py --out docs/measured $(if $(DATA),--data "$(DATA)")

# How far to trust what is said of single rows and of groups; on published tables too with DATA=FOLDER.
bench-varying: $(STAMP)
	$(BIN)/python benchmarks/varying.py --out docs/measured $(if $(DATA),--data "$(DATA)")

# Policies, uplift, distributions of effects and searched groups, each figure beside its goal; a fifth with QUICK=1.
bench-effects: $(STAMP)
	$(BIN)/python benchmarks/effects.py --csv docs/measured/effects.csv $(if $(QUICK),--quick)
	$(BIN)/python benchmarks/conditional.py --simulated $(if $(QUICK),4,20) --econml "$(ECONML)" --csv docs/measured/effects-peers.csv

# Errors of conditional effects on published splits, beside other learners; ECONML=PYTHON names an interpreter that has EconML.
bench-cate: $(STAMP)
	@test -n "$(DATA)" || { echo "expected the folder of the benchmark tables: make bench-cate DATA=FOLDER" >&2; exit 2; }
	$(BIN)/python benchmarks/conditional.py --data "$(DATA)" --econml "$(ECONML)" --csv docs/measured/conditional.csv

# The figures that the bundled models are judged by; those on published tables too with DATA=FOLDER.
bench-accuracy: bench-checkpoints
	$(BIN)/python benchmarks/accuracy.py $(if $(DATA),--data "$(DATA)")
	$(BIN)/python benchmarks/members.py --csv docs/measured/members.csv $(if $(DATA),--data "$(DATA)")

# How well the weights balance, and at what price, beside entropy balancing and others; on published tables too with DATA=FOLDER.
bench-balance: $(STAMP)
	$(BIN)/python benchmarks/balance.py --csv docs/measured/balance.csv $(if $(DATA),--data "$(DATA)")

# Fuzzed tables through every way to an effect: make fuzz SECONDS=120 SEED=1; the smallest table of each failure is printed.
fuzz: $(STAMP)
	$(BIN)/python -m tests.campaigns.fuzz --seconds "$(or $(SECONDS),120)" --seed "$(or $(SEED),0)"

# The largest difference that each change makes which ought to make none: arms, signs, units, copies, orders, targets.
symmetries: $(STAMP)
	$(BIN)/python benchmarks/symmetries.py

# What intervals are worth where it is hard, each figure beside its goal; published tables too with DATA=FOLDER, a fifth
# of the tables with QUICK=1; TABLES=FILE keeps what was found on each, COMPARE=FILE prints the price against an earlier one.
bench-trust: $(STAMP)
	$(BIN)/python benchmarks/trust.py --csv docs/measured/trust.csv $(if $(DATA),--data "$(DATA)") $(if $(QUICK),--quick) $(if $(TABLES),--tables "$(TABLES)") $(if $(COMPARE),--compare "$(COMPARE)")

# The paper's claims: a CSV and a figure for each experiment, and the table of claims; published tables too with DATA=FOLDER,
# a few tables of each kind with QUICK=1, which writes into paper-quick.
paper: $(STAMP)
	$(BIN)/dowhy-cina paper --output $(if $(QUICK),paper-quick --quick,docs/measured/paper) $(if $(DATA),--data "$(DATA)")

# Checkpoints beside the untrained rule; on published tables too with DATA=FOLDER.
bench-checkpoints: $(STAMP)
	$(BIN)/python benchmarks/checkpoints.py --csv docs/measured/checkpoints.csv $(if $(DATA),--data "$(DATA)")

# How many landmarks a long table needs; on published tables too with DATA=FOLDER: half an hour of a core.
bench-landmarks: $(STAMP)
	$(BIN)/python benchmarks/landmarks.py --csv docs/measured/landmarks.csv $(if $(DATA),--data "$(DATA)")

# What the search for steps brings, on textbook designs and others; on published tables too with DATA=FOLDER: a quarter of an hour of a core.
bench-steps: $(STAMP)
	$(BIN)/python benchmarks/additions.py steps --csv docs/measured/steps.csv $(if $(DATA),--data "$(DATA)")

# The same of columns that stand for labels of many levels.
bench-labels: $(STAMP)
	$(BIN)/python benchmarks/additions.py labels --designs clinics schools practices slopes --csv docs/measured/labels.csv $(if $(DATA),--data "$(DATA)")

# What it is worth that columns are read for what they are, and kinds that an arm lacks are known: four minutes of a core.
bench-columns: $(STAMP)
	$(BIN)/python benchmarks/columns.py --csv docs/measured/columns.csv

# The same of the search for differences of covariates that nearly agree.
bench-differences: $(STAMP)
	$(BIN)/python benchmarks/additions.py differences --designs change rise body_mass --csv docs/measured/differences.csv $(if $(DATA),--data "$(DATA)")

# The same of the search for waves.
bench-waves: $(STAMP)
	$(BIN)/python benchmarks/additions.py waves --csv docs/measured/waves.csv $(if $(DATA),--data "$(DATA)")

# What scores the keys should be made of, on the same tables; on published tables too with DATA=FOLDER: ten minutes of a core.
bench-keys: $(STAMP)
	$(BIN)/python benchmarks/keys.py --csv docs/measured/keys.csv $(if $(DATA),--data "$(DATA)")

# What pretraining on tables of one's own brings, on the true effects of a simulated registry: a quarter of an hour of a core.
bench-registry: $(STAMP)
	$(BIN)/python benchmarks/registry.py --csv docs/measured/registry.csv

# Training with one process and with two under torchrun, on one core each.
bench-processes: $(STAMP)
	$(BIN)/python benchmarks/processes.py --csv docs/measured/processes.csv

# Kills, signals, full disks, read-only folders, damaged files, impossible commands and forks, drawn from SEED: some ten minutes.
faults: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python tests/campaigns/faults.py $(if $(SEED),--seed $(SEED))

clean:
	rm -rf $(VENV) $(NEWEST) build dist docs/_build docs/gallery docs/api/generated paper-quick $(DEMO_OUTPUT)
