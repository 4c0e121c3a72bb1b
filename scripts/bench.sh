#!/bin/sh
# Measures CoreCache: speed beside the stack's ceiling, latency during flushes, memory. See docs/benchmarks.md.
#
#   scripts/bench.sh [--seconds N] [--connections N] [--value-bytes N] [--records N] [--pairs N]
#                    [--only speed|flush|memory] [--json FILE] [--write-docs]
#
# Uses $PYTHON, else .venv (made by scripts/start_server.sh), else python3. Installs wrk by apt-get when it is
# missing and the user is root.
set -eu
cd "$(dirname "$0")/.."

if ! command -v wrk >/dev/null; then
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "bench.sh: wrk is missing: install it (on Debian and Ubuntu: sudo apt-get install wrk) and try again" >&2
        exit 1
    fi
    echo "bench.sh: installing wrk" >&2
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends wrk; } >&2
fi

python=${PYTHON:-}
if [ -z "$python" ]; then
    if [ -x .venv/bin/python ]; then python=.venv/bin/python; else python=python3; fi
fi
PYTHONPATH="src${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONPATH
if ! "$python" -c 'import rocksdict, uvicorn, uvloop, httptools, msgspec' 2>/dev/null; then
    echo "bench.sh: $python lacks CoreCache's packages: run scripts/start_server.sh once (it makes .venv), or set PYTHON" >&2
    exit 1
fi
exec "$python" -m benchmarks.bench "$@"
