# `just` lists the recipes. Tools run from the project's own environment, made by `python3 dev.py setup`.

bin := justfile_directory() / ".venv/bin"
export PATH := bin + ":" + env("PATH")
# Empty is unset: many servers are started, and without compiled modules each of them compiles everything anew.
export PYTHONDONTWRITEBYTECODE := ""

_default:
    @just --list --unsorted

# Everything that must hold before a change goes in: the same by hand and in CI
check: format lint types layers house test

# The code is formatted
format:
    ruff format --check

# The code follows the rules of pyproject.toml
lint:
    ruff check

# Types hold
types:
    mypy

# Arrows between the layers point down
layers:
    lint-imports --no-logo

# The repository is in order
house:
    pytest -q tests/house

# All tests and the examples in the docstrings, with coverage; the tests of one file share its servers, so a file stays in one process
test *ARGUMENTS:
    pytest --numprocesses=2 --dist=loadfile --cov --cov-report=term {{ ARGUMENTS }}

# Format the code and repair what can be repaired
fmt:
    ruff check --fix
    ruff format

# Measure: `just bench guard`, some also longer, as `just bench orphan trials=200`; the last line is one JSON object
bench NAME *SIZES:
    @python -m benchmarks.runner {{ NAME }} {{ SIZES }}

# The SDK's adapters, each framework in an environment of its own: `just adapters crewai`, or all of them
adapters *NAMES:
    python dev.py adapters {{ NAMES }}

# What takes too long for every change: all adapters, the demo over ten seeds, long fuzzing, every crash point, every benchmark
nightly: adapters nightly-correctness nightly-figures

# The demo over ten seeds, half an hour of fuzzing, and kill -9 at every step of every playbook on both databases
nightly-correctness:
    for seed in 1 2 3 4 5 6 7 8 9 10; do andon demo --headless --json --seed $seed || exit 1; done
    python -m tests.fuzz.decoders -max_total_time=1800
    python -m tests.fuzz.api 200
    python -m andoncord.sim.chaos_run sqlite
    python -m andoncord.sim.chaos_run postgresql

# Every benchmark, then those that have a long form in it
nightly-figures:
    python dev.py peers
    for name in $(python -m benchmarks.runner --list); do python -m benchmarks.runner $name || exit 1; done
    python -m benchmarks.runner crash-ingest kills=200
    python -m benchmarks.runner crash cycles=1000 postgres=150
    python -m benchmarks.runner query spans=10_000_000
    python -m benchmarks.runner soak seconds=1800
    python -m benchmarks.runner nulls runs=1000000 length=20000
    python -m benchmarks.runner detect-fleet runs=60
    python -m benchmarks.runner detect-week weeks=4 runs_per_day=96
    python -m benchmarks.runner orphan trials=200
    python -m benchmarks.runner supervise trials=200
    python -m benchmarks.runner fanout orders=50

# Take newer versions of the dependencies into requirements.lock
lock *ARGUMENTS:
    python dev.py lock {{ ARGUMENTS }}

# Take the picture of the console in the README again
screenshot:
    python docs/screenshot.py
