#!/usr/bin/env bash
# Writes requirements.lock and requirements-dev.lock anew from pyproject.toml; needs uv. --upgrade: to the newest versions.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

command -v uv >/dev/null || { echo "lock: uv is needed and not found; install it with pip install uv" >&2 && exit 1; }

options=(--quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-emit-find-links)
uv pip compile "$@" "${options[@]}" pyproject.toml --group build --output-file requirements.lock
uv pip compile "$@" "${options[@]}" pyproject.toml --extra plots --group build --group dev --constraint requirements.lock \
    --output-file requirements-dev.lock
