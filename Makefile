# On a fresh machine: `make verify` checks this machine's isolation, `make test` tests the project itself.
# Both make the environment first. Arguments pass through: make verify ARGS="--prove --runtime runc"

.DEFAULT_GOAL := help
.PHONY: help verify prove precision matrix kernels report bench bench-compare bench-report test property fuzz-parsers \
	aarch64 vagrant-verify vagrant-test lint format environment clean

VENV := .venv
ARGS :=
# Where results are written by `make matrix` and `make report`.
REPORTS := reports
# What those two put under test.
RUNTIMES := all
# What stands behind `linux-image-` in the names of packages, for `make kernels`; nothing is the distribution's usual one.
KERNELS :=
# The stored run with which `make bench-compare` compares.
BASE := reports/benchmark.json
# What `make property` draws by: the same number draws the same again, and CI always does.
SEED := $(if $(CI),0,$(strip $(shell od -An -N4 -tu4 /dev/urandom)))
# Tried in this order; the first that is Python 3.11 or later makes the environment.
PYTHON := python3 python3.14 python3.13 python3.12 python3.11

PYTEST := $(VENV)/bin/python -m pytest
STAMP := $(VENV)/.complete
BROWSER := $(VENV)/.browser

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

verify: environment ## run every check on this machine: pytest scenarios/
	$(PYTEST) scenarios/ $(ARGS)

prove: environment ## the same, and prove that each check goes red when its isolation is broken
	$(PYTEST) scenarios/ --prove $(ARGS)

precision: environment ## besides, turn each sabotage under other checks: those must go red that are recorded to
	$(PYTEST) scenarios/ --precision=compare -n 2 $(ARGS)

# A check that fails is an answer here (exit status 1 of pytest); one without a verdict is not, and report tells it.
matrix: environment ## run every check on every runtime that is here, as asked and as shipped: reports/matrix.md
	rm -f $(REPORTS)/isolation.json # or one of before would be told where this run has none
	$(PYTEST) scenarios/ $(addprefix --runtime ,$(RUNTIMES)) --reports $(REPORTS) $(ARGS) || [ $$? -eq 1 ]
	$(VENV)/bin/isoproof report --matrix $(REPORTS)/isolation.json --reports $(REPORTS) >/dev/null

# The page of results takes up what lies beside them, so that comes first.
report: environment ## make everything anew that reports/ has of this machine for people, with proofs, as root: half an hour
	$(VENV)/bin/isoproof ladder --reports $(REPORTS)
	$(MAKE) bench ARGS="--reports $(REPORTS) -q"
	$(MAKE) matrix ARGS="--prove -n 2 --dist loadfile $(ARGS)"

kernels: environment ## prove every check under Debian's kernel in a virtual machine: reports/kernels/; KERNELS="amd64 rt-amd64"
	$(VENV)/bin/python -m pip install --quiet --group kernels
	$(VENV)/bin/python -m harness.guest.kernels --reports $(REPORTS) $(KERNELS) -- --prove -q $(ARGS)

bench: environment ## measure the start-up latency of the runtimes
	$(PYTEST) scenarios/test_startup_latency.py --benchmark-only $(ARGS)

bench-compare: environment ## measure our own starts again, and say whether they have become slower: BASE=FILE
	$(VENV)/bin/python -m harness.bench.compare --base $(BASE) $(ARGS)

bench-report: environment ## make the reports of a stored benchmark again: ARGS="FILE --since FILE"
	$(VENV)/bin/python -m harness.bench.report $(ARGS)

test: $(BROWSER) ## run the project's own tests: pytest tests/
	$(PYTEST) tests/ -ra $(ARGS)

property: environment ## hold everything to its rules for whatever is drawn at random: tests/property; SEED=N draws it again
	$(PYTEST) tests/property --hypothesis-seed=$(SEED) -q $(ARGS) || { echo 'again: make property SEED=$(SEED) ARGS="$(ARGS)"'; exit 1; }

# atheris is there for some Pythons and machines only; where it is not, that is said, and nothing else happens.
fuzz-parsers: environment ## look for inputs that break a parser, by atheris: ARGS="yamlfile -max_total_time=600"
	@$(VENV)/bin/python -m pip install --quiet --only-binary :all: --group fuzzing 2>/dev/null || true
	nice $(VENV)/bin/python -m tests.fuzzing $(ARGS)

# Brought up, brought up to date and made ready, whatever was there before. The reports come whatever the checks say.
vagrant-verify: ## run every check in a virtual machine (Vagrantfile), whose reports come to reports/vagrant/
	@command -v vagrant >/dev/null || { \
	    echo 'make: vagrant is not installed; docs/machines.md tells how, and of other ways to a machine' >&2; exit 2; }
	rm -rf reports/vagrant
	{ vagrant up --no-provision && vagrant rsync && vagrant provision; } || { \
	    echo 'make: no machine came up; BOX_URL=FILE names a box, docs/machines.md tells what each system needs' >&2; \
	    exit 2; }
	@status=0; \
	vagrant ssh -c "sudo rm -rf isoproof/reports/vagrant; isoproof-verify --reports reports/vagrant $(ARGS)" || status=$$?; \
	vagrant ssh --no-tty -c 'tar -C isoproof -c reports/vagrant' | tar --no-same-owner -x; \
	[ -e reports/vagrant/isolation.json ] || { echo 'make: the guest made no report; what stands above says why' >&2; exit 2; }; \
	exit $$status

# Not in CI, since an emulated machine takes its time. ARGS come to its pytest; BOX_URL=FILE is a box that was made before.
vagrant-test: environment ## try the Vagrantfile from end to end, as root: a box from Debian packages, libvirt, emulated processors
	nice tests/guest/run.sh

# Not those that start our programs of machine code: the kernel would take them for its own, and `make test` lets qemu run
# them, in test_stub and test_elf. Nor one about orphans, of which a program sees none there.
aarch64: environment ## run the unit tests by a Python for aarch64, under qemu: its first run takes a while; ARGS="-k stub"
	tests/on_aarch64 tests/unit $(addprefix --ignore tests/unit/test_,stub.py elf.py bench_commands.py) \
	    --deselect tests/unit/test_latency.py::test_the_clock_program_tells_the_time_of_its_first_instruction \
	    --deselect tests/unit/test_bench_leavings.py::test_orphans_and_children_of_a_context_are_ended_with_it $(ARGS)

lint: $(BROWSER) ## run only the linters, the type checker and the rules of the repository
	$(PYTEST) tests/test_repository.py tests/test_catalogue.py tests/test_workflows.py $(ARGS)

format: environment ## let ruff fix and format the sources
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

environment: $(STAMP) ## make .venv with isoproof and its developers' tools in it

# Made anew when pyproject.toml changes. The stamp comes last, so an interrupted attempt is repeated from the start.
# pip is upgraded because dependency groups need 25.1, and Debian 12 brings 23.0.
$(STAMP): pyproject.toml
	@python=$$(for candidate in $(PYTHON); do \
	    $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$candidate && break; \
	done); \
	if [ -z "$$python" ]; then \
	    echo 'make: no Python 3.11 or later found as: $(PYTHON); install one, or name it: make PYTHON=FILE' >&2; exit 2; \
	fi; \
	if ! $$python -c 'import ensurepip, venv' 2>/dev/null; then \
	    echo "make: $$python has no venv module; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 2; \
	fi; \
	set -ex; \
	$$python -m venv --clear $(VENV); \
	$(VENV)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'; \
	$(VENV)/bin/python -m pip install --quiet --editable . --group dev
	@touch $@

# What drives a browser is larger than all the rest, and nobody needs it who only checks a machine: it is for tests/browser,
# and for the type checker, which reads them.
$(BROWSER): $(STAMP)
	$(VENV)/bin/python -m pip install --quiet --group browser
	@touch $@

clean: ## remove the environment and every cache
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .fuzzing .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
