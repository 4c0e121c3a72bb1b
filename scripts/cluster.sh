#!/usr/bin/env bash
# Starts ZooKeeper and N (3) nodes on this machine; `stop` ends all of it, `status` says how it is.
set -euo pipefail
scripts="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)"

"$scripts/install.sh"
exec "$scripts/../.venv/bin/python" "$scripts/cluster.py" "$@"
