#!/usr/bin/env bash
# mkdocs: --quiet switches --strict off.
#
# Packages: mkdocs 1.6.1, Python 3.11.
# Input: a site of one page with a link to a page that is not there.
# Expected: `mkdocs build --strict`, the usual check of documentation in CI, ends with status 1, and --quiet
# changes only what is printed.
# Seen: with --strict status 1; with --strict --quiet status 0 and not a word. Warnings are counted by a log
# handler, and the level that --quiet sets drops them before they reach it.
# Exit status: 0 while that is so, 1 when it has changed.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3.11 -m venv "$work/env"
"$work/env/bin/pip" install --quiet mkdocs==1.6.1
mkdir -p "$work/site/docs"
cd "$work/site"
echo 'site_name: example' >mkdocs.yml
echo '[a page that is not there](nowhere.md)' >docs/index.md

status() {
    local code=0
    "$work/env/bin/mkdocs" build "$@" >/dev/null 2>"$work/said" || code=$?
    echo "$code"
}

strict=$(status --strict)
both=$(status --strict --quiet)
said=$(cat "$work/said")
"$work/env/bin/mkdocs" --version
echo "--strict: status $strict; --strict --quiet: status $both, said '$said'"
[ "$strict" = 1 ] && [ "$both" = 0 ] && [ -z "$said" ]
