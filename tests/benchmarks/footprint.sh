#!/usr/bin/env bash
# footprint.sh BUILD: installs what BUILD holds, compiles one_step.cpp as a user would, and prints what it costs: seconds
# to compile, milliseconds from start to end (median of 100), MiB at most.
set -euo pipefail

here=$(dirname "$(realpath "$0")")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cmake --install "$1" --prefix "$scratch" >/dev/null
PKG_CONFIG_PATH=$(dirname "$(find "$scratch" -name xtgrad.pc)")
export PKG_CONFIG_PATH
read -ra flags <<<"$(pkg-config --cflags --libs xtgrad)"

# now: microseconds
now() { echo "${EPOCHREALTIME/[.,]/}"; }

for compiler in g++ clang++; do
  start=$(now)
  "$compiler" -std=c++20 -O2 "$here/one_step.cpp" "${flags[@]}" -o "$scratch/one_step"
  compiled=$(($(now) - start))
  peak=$("$scratch/one_step")
  for _ in {1..100}; do
    start=$(now)
    "$scratch/one_step" >/dev/null
    echo $(($(now) - start))
  done | sort -n | sed -n 50p >"$scratch/median"
  printf '%-8s compiled in %4.1f s, started and ended in %4.1f ms, %4.1f MiB at most\n' "$compiler" \
    "${compiled}e-6" "$(<"$scratch/median")e-3" "$peak"
done
