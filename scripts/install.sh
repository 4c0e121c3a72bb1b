#!/usr/bin/env bash
# Makes .venv with exactly what is locked, and CoreCache in it; quick when nothing has changed. --dev: what tests need too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
    echo "install: $1" >&2
    exit 1
}

case "${1:-}" in
    "") lock=requirements.lock stamps=(.venv/installed) ;;
    --dev) lock=requirements-dev.lock stamps=(.venv/installed .venv/installed-dev) ;;
    *) fail "unknown option $1; there is only --dev" ;;
esac
stamp="${stamps[-1]}"

# What is installed is good as long as the locks, the project's own description and the interpreter are those it was made
# from, and the program that .venv runs is this checkout's: a checkout may have been moved or copied.
wanted() {
    cksum requirements.lock requirements-dev.lock pyproject.toml
    .venv/bin/python -c 'import sys; print(sys.version)'
}
is_ours() {
    [[ "$(.venv/bin/python -c 'import corecache; print(corecache.__file__)' 2>/dev/null)" == "$(pwd -P)"/src/* ]]
}
is_current() {
    [[ -f "$stamp" ]] && [[ "$(wanted 2>/dev/null)" == "$(<"$stamp")" ]] && is_ours
}
is_current && exit 0

# Two installations at once would write into the same .venv.
mkdir -p run
if command -v flock >/dev/null; then
    exec 9>run/install.lock
    flock 9
    is_current && exit 0
fi

works() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}
if ! { [[ -x .venv/bin/python ]] && works .venv/bin/python && .venv/bin/python -m pip --version >/dev/null 2>&1 && is_ours; }; then
    python=""
    for candidate in ${PYTHON:-} python3.11 python3.12 python3.13 python3; do
        if works "$candidate"; then
            python="$candidate"
            break
        fi
    done
    [[ -n "$python" ]] || fail "Python 3.11 or newer is needed and not found; install it, or name it with PYTHON=/path/to/python3"
    "$python" -c 'import venv, ensurepip' 2>/dev/null ||
        fail "$python can't make virtual environments; on Debian and Ubuntu: apt-get install python3-venv"
    "$python" -m venv --clear .venv || fail "$python could not make .venv, see above"
fi

echo "Installing what $lock names into .venv …"
rm -f .venv/installed .venv/installed-dev
pip=(.venv/bin/python -m pip --quiet --disable-pip-version-check --no-input)
"${pip[@]}" install --require-hashes -r "$lock" || fail "pip could not install $lock, see above"
"${pip[@]}" install --no-deps --no-build-isolation --no-index --editable . || fail "pip could not install CoreCache itself, see above"
is_ours || fail "the installed corecache is not this checkout's; is PYTHONPATH set?"
for stamp in "${stamps[@]}"; do
    wanted >"$stamp"
done
