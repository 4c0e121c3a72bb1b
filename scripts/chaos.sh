#!/usr/bin/env bash
# A fault campaign with a fresh seed, then each fault alone, then the campaigns that must convict a broken node; one by one,
# for each wants both cores.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/install.sh --dev
output="run/chaos/$(date +%Y%m%d-%H%M%S)"
.venv/bin/corecache chaos --duration "${CORECACHE_CHAOS_SECONDS:-120}" --output "$output"
exec .venv/bin/python -m pytest --import-mode=importlib -m campaign tests/chaos "$@"
