#!/usr/bin/env bash
# Checks what can be checked without running anything: format, lint, types, the direction of imports, generated pages, tidiness.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/install.sh --dev
PATH="$PWD/.venv/bin:$PATH"
failed=()

check() {
    echo "== $1"
    "${@:2}" || failed+=("$1")
}

reference_is_fresh() {
    local page=docs/configuration.md example=docs/corecache.example.toml
    diff -u "$example" <(python -m corecache.reference example) &&
        diff -u <(sed -n '/^<!-- Written by/,$p' "$page") <(python -m corecache.reference table) && return
    echo "These pages are no longer what config/ says: run scripts/write_reference.sh"
    return 1
}

# The machine where something was written is nobody's business, and a lock that names a host works only where that is.
is_tidy() {
    local found=0
    git grep -nIE 'T[O]DO|F[I]XME' && echo "Unfinished work belongs into an issue." && found=1
    git grep -nIF -e "$PWD/" && echo "A path of this machine." && found=1
    if ((${#HOME} > 3)); then
        git grep -nIF -e "$HOME/" && echo "A path of this user." && found=1
    fi
    git grep -nE '[a-z]+://' -- '*.lock' && echo "A lock names no host." && found=1
    while read -r lines file; do
        if ((lines > 400)) && [[ "$file" != total ]]; then
            echo "$file has $lines lines; one past 400 has two nouns in it." && found=1
        fi
    done < <(git ls-files -z 'src/*.py' | xargs -0 wc -l)
    return "$found"
}

check "ruff format" ruff format --check .
check "ruff check" ruff check .
check "mypy" mypy
check "imports" lint-imports
check "reference" reference_is_fresh
check "tidy" is_tidy
if ((${#failed[@]})); then
    printf 'check: failed: %s\n' "${failed[*]}" >&2
    exit 1
fi
echo "check: all is well"
