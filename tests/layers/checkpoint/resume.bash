#!/usr/bin/env bash
# resume.bash PROGRAM OPTIMIZER: for every k of 50, a run that was saved after step k and went on in a new process ends
# with the file of the uninterrupted run, byte for byte.
set -euo pipefail
program=$1 optimizer=$2 steps=50
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

"$program" "$optimizer" - $steps whole
expected=$(sha256sum <whole)
for ((k = 0; k < steps; ++k)); do
  "$program" "$optimizer" - "$k" half
  [[ $(sha256sum <half) != "$expected" ]]
  "$program" "$optimizer" half $steps rest
  [[ $(sha256sum <rest) == "$expected" ]] || {
    echo "$optimizer: saved after step $k, the run ended otherwise" >&2
    exit 1
  }
done
