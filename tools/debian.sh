#!/bin/bash
# Install what is missing of requirements/debian.txt. Never fails: what cannot be had is named, and the tests that need
# it are skipped with that reason.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin

missing=()
while read -r package sign _; do
    [[ -z $package || $package == \#* ]] && continue
    command -v "$sign" >/dev/null || [[ -e $sign ]] || missing+=("$package")
done <requirements/debian.txt
((${#missing[@]})) || exit 0

without() {
    echo "WITHOUT the Debian packages ${missing[*]}: $1. Tests and benchmarks that need them are skipped." >&2
    exit 0
}

command -v apt-get >/dev/null || without "there is no apt-get here"
((EUID == 0)) || without "only root can install them: apt-get install ${missing[*]}"

install() {
    # Run level 1 keeps the packages' services from being started.
    DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get install -qq -y --no-install-recommends "${missing[@]}" </dev/null >/dev/null
}

echo "installing the Debian packages ${missing[*]}" >&2
install 2>/dev/null || { apt-get update -qq </dev/null && install; } || without "apt-get failed"
