#!/usr/bin/env bash
# contains.sh EXPECTED TOLERANCE PROGRAM: runs the program, and looks for the lines of the file in its output, in their order.
# Words are equal, or numbers that differ by no more than this share of them, or that are both rounding (below 1e-7).
set -euo pipefail

"$3" | awk -v tolerance="$2" -v expected="$1" '
  function size(x) { return x < 0 ? -x : x }
  function same(a, b) {
    if (a == b) return 1
    if (a !~ /^[-+]?[0-9]*\.?[0-9]+(e[-+][0-9]+)?$/ || b !~ /^[-+]?[0-9]*\.?[0-9]+(e[-+][0-9]+)?$/) return 0
    return size(a - b) <= tolerance * size(b) || (size(a) < 1e-7 && size(b) < 1e-7)
  }
  function matches(n, i) {
    n = split(lines[next_line], words, " ")
    if (n != NF) return 0
    for (i = 1; i <= n; ++i) if (!same($i, words[i])) return 0
    return 1
  }
  BEGIN { while ((getline line < expected) > 0) lines[++count] = line; next_line = 1 }
  next_line <= count && matches() { ++next_line }
  END {
    if (next_line <= count) print "not in the output, or not there: " lines[next_line]
    exit count == 0 || next_line <= count
  }'
