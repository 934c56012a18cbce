#!/bin/bash
# Run suites of tests, each by a trial of its own with HADESGW_REAL=1: tools/suites.sh (NUMBER SUITE...)...
# NUMBER of the suites after it run at a time, in the order they are named in. What a suite says is kept in
# build/real/<suite>.log and shown when it has ended; at the end there is a line for each. Exits non-zero if one of them
# fails, or has not ended after $SUITE_MINUTES.
set -euo pipefail
cd "$(dirname "$0")/.."
export SUITE_MINUTES=${SUITE_MINUTES:-30} HADESGW_REAL=1
made=build/real
rm -rf "$made"
mkdir -p "$made"

run() { # made, suite
    local name=${2##*/} begun=$SECONDS verdict=passed
    timeout --kill-after=60 "${SUITE_MINUTES}m" .venv/bin/python -m twisted.trial --reporter=text \
        --temp-directory="$1/$name" "$2" >"$1/$name.log" 2>&1 || verdict=FAILED
    {
        flock 9
        printf '\n---- %s\n' "$2"
        cat "$1/$name.log"
        printf '%-24s %s in %d s: %s\n' "$2" "$verdict" $((SECONDS - begun)) "$(tail -n 1 "$1/$name.log")" >>"$1/verdicts"
    } 9>"$1/lock"
    [[ $verdict == passed ]]
}
export -f run

at_once=1 status=0 group=()
run_group() {
    ((${#group[@]})) || return 0
    printf '%s\n' "${group[@]}" | xargs -P "$at_once" -I '{}' bash -c 'run "$@"' run "$made" '{}' || status=1
    group=()
}
for word in "$@"; do
    if [[ $word =~ ^[0-9]+$ ]]; then
        run_group
        at_once=$word
    else
        group+=("$word")
    fi
done
run_group
printf '\n---- all of them\n'
cat "$made/verdicts"
exit "$status"
