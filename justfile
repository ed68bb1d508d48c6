# Recipes, run with ./just NAME. `./just` alone lists them.

set shell := ["sh", "-eu", "-c"]

# where a machine's default is to keep no compiled Python, each of some thousand processes would compile it again
unexport PYTHONDONTWRITEBYTECODE

# tests/support/schedule.py says how many processes; each takes up to 2 GB. A process that dies ends the run: no test may do that
on_all_cores := "--numprocesses logical --maxprocesses 4 --dist loadfile --max-worker-restart 0"

[private]
default:
    @just --list --unsorted

# install everything the pipeline needs into .venv, and the extras named: ./just setup gpu notebooks
setup *EXTRAS:
    @python scripts/install.py {{EXTRAS}}

# set up, run the whole pipeline, print the metrics
reproduce: setup
    @capillary check
    @dvc repro
    @capillary metrics

# check that a run can finish before starting it: ./just preflight [--json] [--require-gpu]
preflight *ARGS: setup
    @capillary preflight {{ARGS}}

# run an experiment file: ./just experiment --config configs/experiments/vesselnn.yaml; without one, params.yaml as it is
experiment *ARGS: setup
    @capillary experiment {{ARGS}}

# the same on little of everything: ./just experiment-debug --config FILE
experiment-debug *ARGS: setup
    @capillary experiment --debug {{ARGS}}

# check the file and the machine, show what would run, run nothing
experiment-dry-run *ARGS: setup
    @capillary experiment --dry-run {{ARGS}}

# the same command inside the dvc-runner: only Docker is needed on this machine
experiment-docker *ARGS:
    docker compose run --rm dvc-runner capillary experiment {{ARGS}}

# start the services (MLflow; with --profile team also PostgreSQL and an S3 store) and wait until they are healthy
up *ARGS: setup
    @capillary up {{ARGS}}

alias dev := up

# stop the services; their volumes, and so all runs and files, stay
down: setup
    @capillary down

# follow the services' logs, of all or of those named: ./just logs mlflow
logs *NAMES: setup
    @capillary logs {{NAMES}}

# segment stacks over HTTP on this machine, with a page at http://127.0.0.1:8080 (docs/serve.md)
serve *ARGS:
    @python scripts/install.py serve
    @capillary serve {{ARGS}}

# build the stages' container images ahead of time
build *STAGES: setup
    @capillary build {{STAGES}}

# JupyterLab on the notebooks, which test and show this environment
notebook *ARGS: (setup "notebooks")
    @jupyter lab notebooks {{ARGS}}

# set up and run every test: static checks, unit, integration, e2e
test: checks test-integration test-e2e

# static checks and every unit test
[parallel]
checks: lint test-unit

# what to run while writing code: static checks and the unit tests, without the files that take longest
[parallel]
test-fast: lint (test-unit "--quick")

# kills and rounds for hours, by hand; one of each kind is in `test`
test-chaos *ARGS: setup-dev
    CAPILLARY_TEST_CHAOS=1 pytest --timeout 7200 {{ARGS}} \
        tests/e2e/test_kill_and_resume.py tests/e2e/test_experiment.py tests/e2e/test_experiment_rounds.py \
        tests/e2e/test_tracking_faults.py \
        tests/e2e/containers/test_container_chaos.py \
        tests/integration/experiments tests/integration/train/test_train_resume.py tests/integration/train/test_losses_train.py \
        tests/integration/tracking/test_tracking_registry.py tests/integration/tracking/test_promoting_at_once.py tests/integration/places \
        tests/integration/test_predict_command.py::test_many_stacks_go_on_after_a_kill

[private]
setup-dev:
    @python scripts/install.py dev docs serve ray crate export

# write the documentation as a site to site/ (./just docs serve: while you write, with reloads)
docs COMMAND="build": setup-dev
    python -m scripts.docs.exit_codes
    NO_MKDOCS_2_WARNING=1 mkdocs {{COMMAND}}

# ruff, mypy, the rules of imports, and zizmor for the workflows
lint: setup-dev
    ruff check .
    ruff format --check .
    mypy
    pytest --quiet tests/unit/repository/test_rooms.py
    zizmor --offline --quiet --no-progress .github

# the unit tests: one module each, no server (minutes)
test-unit *ARGS: setup-dev
    pytest tests/unit {{on_all_cores}} {{ARGS}}

# the integration tests: real servers, real processes (a quarter of an hour)
test-integration *ARGS: setup-dev
    pytest tests/integration {{on_all_cores}} {{ARGS}}

# the end-to-end tests: the real pipeline from a fresh clone (a quarter of an hour)
test-e2e *ARGS: setup-dev
    pytest tests/e2e {{on_all_cores}} {{ARGS}}

# put small faults into the code one at a time: does a test notice? ./just test-mutants [--room FOLDER] [--sample N]
test-mutants *ARGS: setup-dev
    @python -m scripts.mutants {{ARGS}}

# install each extra, or those named, into an environment of its own, and import it: ./just test-extras crate ssh
test-extras *EXTRAS: setup
    @python -m scripts.extras {{EXTRAS}}

# write constraints.txt again from pyproject.toml (needs uv)
lock:
    uv pip compile --quiet --universal --python-version 3.11 --all-extras --no-header --no-annotate \
        --no-emit-index-url --no-emit-find-links --upgrade pyproject.toml -o constraints.txt
