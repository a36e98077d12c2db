#!/bin/sh
# Does the jobs of the tube mail; README.md says how to run it.
set -eu
body=$(cat)
case $body in
    *'"to"'*) ;;
    *) echo "no recipient" >&2; exit 100 ;; # rejected: no retry would help
esac
if ! [ -d "$OUTBOX" ]; then
    echo "there is no folder $OUTBOX" >&2
    exit 75 # again in a minute
fi
printf '%s\n' "$body" > "$OUTBOX/$TUBEHERD_JOB_ID.json" # any other failure is tried again as retries are
