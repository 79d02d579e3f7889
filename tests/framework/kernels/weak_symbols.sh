#!/bin/sh
# Fails if object files of different instruction sets define the same weak symbol: the linker keeps one of them
# for everybody, and a processor without that instruction set would run it.
# Usage: weak_symbols.sh --set NAME OBJECT... --set NAME OBJECT... [...]
# Symbols in a set's own namespace, xtgrad::kernels::NAME, carry the name and are never common to two sets.
# DW.ref.* is a pointer that exception tables share: data, and the same for all.
set -eu

symbols=$(
  set_name=
  while [ $# -gt 0 ]; do
    if [ "$1" = --set ]; then
      set_name=$2
      shift 2
      continue
    fi
    nm --defined-only "$1" | awk -v set="$set_name" '$2 ~ /^[WVu]$/ && $3 !~ /^DW\.ref\./ { print $3, set }'
    shift
  done | sort -u
)

common=$(printf '%s\n' "$symbols" | awk 'NF == 2 { sets[$1] = sets[$1] " " $2; count[$1]++ }
  END { for (s in count) if (count[s] > 1) print s " in" sets[s] }' | sort)

if [ -n "$common" ]; then
  echo "weak symbols common to two instruction sets:"
  printf '%s\n' "$common" | c++filt
  exit 1
fi
