#!/usr/bin/env bash
# Stops what start_server.sh started, all or --port N, and waits until it has ended.
set -euo pipefail
scripts="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)"

python="$scripts/../.venv/bin/python"
[[ -x "$python" ]] || python="$(command -v python3)" || { echo "stop_server: no Python was found" >&2 && exit 1; }
exec "$python" "$scripts/servers.py" stop "$@"
