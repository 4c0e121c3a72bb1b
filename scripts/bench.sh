#!/bin/sh
# Measures CoreCache: speed beside the stack's ceiling, beside etcd and beside Redis, latency during flushes and while a
# node is filled, memory, and what a killed node costs. See docs/benchmarks.md.
#
#   scripts/bench.sh [speed|flush|memory|cluster|catch-up|failover|resp|peers|growth|profile]
#                    [--seconds N] [--connections N] [--value-bytes N] [--records N] [--pairs N]
#                    [--catch-up-bytes N] [--kills N] [--json FILE] [--write-docs]
#                    [--systems NAMES] [--clients NUMBERS] [--sizes BYTES]
#                    [--keys-max N] [--sections NAMES]
#
# Without the name of a part it measures all but peers, growth and profile; --only NAME is the same as the
# name. Uses $PYTHON, else .venv (made by scripts/start_server.sh), else python3. Installs wrk, etcd-server,
# redis-server, redis-tools and zookeeper by apt-get when they are missing and the user is root.
set -eu
cd "$(dirname "$0")/.."

part=
for word in "$@"; do
    case $word in
    --only=*) part=${word#--only=} ;;
    speed | flush | memory | cluster | catch-up | failover | resp | peers | growth | profile) part=$word ;;
    esac
done

missing=
command -v wrk >/dev/null || missing=wrk
case $part in
"" | cluster | peers) command -v etcd >/dev/null || missing="$missing etcd-server" ;;
esac
case $part in
"" | resp | peers)
    command -v redis-server >/dev/null || missing="$missing redis-server"
    command -v redis-benchmark >/dev/null || missing="$missing redis-tools"
    ;;
esac
case $part in
peers)
    if [ -z "${ZOOKEEPER_HOME:-}" ] && [ ! -e /usr/share/java/zookeeper.jar ]; then missing="$missing zookeeper"; fi
    ;;
esac
if [ -n "$missing" ]; then
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "bench.sh: missing: $missing: install it (on Debian and Ubuntu: sudo apt-get install $missing) and try again" >&2
        exit 1
    fi
    echo "bench.sh: installing $missing" >&2
    # shellcheck disable=SC2086 # several names are several packages
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $missing; } >&2
fi

python=${PYTHON:-}
if [ -z "$python" ]; then
    if [ -x .venv/bin/python ]; then python=.venv/bin/python; else python=python3; fi
fi
PYTHONPATH="src:scripts:tests${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONPATH
if ! "$python" -c 'import rocksdict, uvicorn, uvloop, httptools, msgspec' 2>/dev/null; then
    echo "bench.sh: $python lacks CoreCache's packages: run scripts/start_server.sh once (it makes .venv), or set PYTHON" >&2
    exit 1
fi
if [ "$part" = peers ] && ! "$python" -c 'import kazoo, pysyncobj, matplotlib' 2>/dev/null; then
    echo "bench.sh: $python lacks what the peers part needs: pip install -r requirements-dev.lock" >&2
    exit 1
fi
exec "$python" -m benchmarks.bench "$@"
