#!/usr/bin/env bash
# Starts a node in the background, installing first what it needs; options are passed on to `corecache serve`.
set -euo pipefail
scripts="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)"

"$scripts/install.sh"
exec "$scripts/../.venv/bin/python" "$scripts/servers.py" start "$@"
