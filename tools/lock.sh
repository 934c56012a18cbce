#!/bin/bash
# Make the lock files in requirements/ anew from pyproject.toml (`make lock`).
#
# They name every package with the hashes of its files, for every platform and Python from 3.11 on, and no index: where
# packages come from is the business of whoever installs. A lock constrains the next, so that all six together fit in
# one environment; Aider's is another, and its lock is part of the package. What is pinned stays pinned; UPGRADE=1 takes
# the newest of everything, UPGRADE=name that package.
set -euo pipefail
cd "$(dirname "$0")/.."

uv=${UV:-.venv/bin/uv}
upgrade=()
case ${UPGRADE:-} in
    "") ;;
    1) upgrade=(--upgrade) ;;
    *) upgrade=(--upgrade-package "$UPGRADE") ;;
esac

compile() { # name of the lock, then arguments
    local lock=requirements/$1.lock
    shift
    "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --annotation-style line \
        --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
        "${upgrade[@]}" --output-file "$lock" "$@"
}

build_requirements='import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")'

compile run pyproject.toml
compile test --extra test --constraint requirements/run.lock pyproject.toml
compile lint --extra lint --constraint requirements/test.lock pyproject.toml
compile local --extra local --constraint requirements/lint.lock pyproject.toml
compile codex --extra codex --constraint requirements/local.lock pyproject.toml
aider=$(sed -n 's/^VERSION = "\(.*\)"$/\1/p' hadesgw/sessions/aider_environment.py)
echo "aider-chat==$aider" | compile ../hadesgw/sessions/aider - # an environment of its own: it constrains nothing
python3 -c "$build_requirements" | compile build --constraint requirements/codex.lock -
