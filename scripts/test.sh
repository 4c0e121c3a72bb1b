#!/usr/bin/env bash
# Installs all that the tests need and runs them; options and paths are passed on to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# A program that some tests can't do without, and Debian's package that has it.
needed=(gcc:gcc git:git setpriv:util-linux unshare:util-linux wrk:wrk)
needed+=(redis-server:redis-server redis-cli:redis-tools redis-benchmark:redis-tools node:nodejs npm:npm)
[[ -e /usr/include/stdlib.h ]] || needed+=(stdlib.h:libc6-dev)
mkdir -p run
missing=()
for pair in "${needed[@]}"; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
done
# ZooKeeper: the distribution that ZOOKEEPER_HOME names, with a java, or Debian's package, which brings one.
zookeeper_is_there() {
    command -v java >/dev/null && [[ -e /usr/share/java/zookeeper.jar || -d "${ZOOKEEPER_HOME:-/nowhere}/lib" ]]
}
zookeeper_is_there || missing+=(zookeeper)
if ((${#missing[@]})); then
    if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
        echo "test: some tests need what is not installed; on Debian and Ubuntu: sudo apt-get install ${missing[*]}" >&2
        zookeeper_is_there ||
            echo "test: elsewhere: install java, unpack Apache ZooKeeper, and set ZOOKEEPER_HOME to its directory" >&2
        exit 1
    fi
    echo "Installing ${missing[*]} …"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update && apt-get install --yes --no-install-recommends "${missing[@]}"; } >run/apt.log 2>&1 ||
        { tail -n 5 run/apt.log >&2 && echo "test: apt-get could not install ${missing[*]}" >&2 && exit 1; }
fi

scripts/install.sh --dev

# The client of Redis's protocol for Node, which npm alone can fetch, in a directory that git does not see.
node_redis=redis@6.3.1
if [[ "$(cat run/node/installed 2>/dev/null)" != "$node_redis" ]]; then
    mkdir -p run/node
    npm install --prefix run/node --no-audit --no-fund --no-save --ignore-scripts "$node_redis" >run/npm.log 2>&1 ||
        { tail -n 5 run/npm.log >&2 && echo "test: npm could not install $node_redis" >&2 && exit 1; }
    echo "$node_redis" >run/node/installed
fi
exec .venv/bin/python -m pytest --import-mode=importlib --numprocesses "${PYTEST_WORKERS:-2}" --dist worksteal "$@"
