#!/usr/bin/env bash
# Checks the pins of constraints.txt against known advisories, with pip-audit.
#
#   scripts/pins.sh
#
# Prints the date and what was found. Ends with 0 where nothing is known, 1 where something is, and
# 3 where the check could not be made: pip-audit cannot be installed, or cannot reach its data.
# Nothing is installed beside pip-audit, in an environment of its own.
set -uo pipefail

cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "$(date -u +%F): $(grep -c == constraints.txt) pins of constraints.txt"

if ! { "${PYTHON:-python3}" -m venv "$work/venv" &&
    "$work/venv/bin/pip" install --quiet --disable-pip-version-check pip-audit; } 2>"$work/said"; then
    echo "not checked: pip-audit cannot be installed ($(tail -n 1 "$work/said"))"
    exit 3
fi
for service in pypi osv; do
    "$work/venv/bin/pip-audit" --requirement constraints.txt --no-deps --disable-pip \
        --vulnerability-service "$service" --progress-spinner off --timeout 20 \
        >"$work/found" 2>"$work/said"
    code=$?
    if [ $code -eq 0 ]; then
        echo "nothing is known of them ($service)"
        exit 0
    elif grep -q "Known vulnerabilities\|^Name " "$work/said" "$work/found"; then
        cat "$work/found"
        exit 1
    fi
    echo "$service: $(grep -v '^$' "$work/said" | tail -n 1 | cut -c 1-200)"
done
echo "not checked: pip-audit cannot reach its data"
exit 3
