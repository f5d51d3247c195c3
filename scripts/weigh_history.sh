#!/bin/sh
# Fails when the history, packed as a clone downloads it, exceeds 60 MiB.
set -eu
cd "$(dirname "$0")/.."
limit=${1:-60}

if ! git rev-parse --quiet --verify HEAD >/dev/null 2>&1; then
    echo "There is no git history here to weigh."
    exit 0
fi
# git before 2.31 cannot weigh what is reachable: then all that the repository holds counts
bytes=$(git rev-list --objects --disk-usage HEAD 2>/dev/null) ||
    bytes=$(git count-objects -v | awk '/^size(-pack)?:/ { kib += $2 } END { print kib * 1024 }')
mib=$(((bytes + 1048575) / 1048576))
part=
if [ "$(git rev-parse --is-shallow-repository)" = true ]; then
    part=" in this shallow clone, which lacks older commits,"
fi
if [ "$mib" -gt "$limit" ]; then
    echo "The history$part takes $mib MiB packed, more than $limit: make new pictures and data smaller, or keep them elsewhere." >&2
    exit 1
fi
echo "The history$part takes $mib of at most $limit MiB packed."
