#!/usr/bin/env bash
# Writes docs/corecache.example.toml and the tables of docs/configuration.md anew from the declarations in config/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

page="$(sed '/^<!-- Written by/,$d' docs/configuration.md)"
tables="$(.venv/bin/python -m corecache.reference table)"
example="$(.venv/bin/python -m corecache.reference example)"
printf '%s\n\n%s\n' "$page" "$tables" >docs/configuration.md
printf '%s\n' "$example" >docs/corecache.example.toml
