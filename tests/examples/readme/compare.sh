#!/usr/bin/env bash
# compare.sh EXPECTED TOLERANCE PROGRAM: runs the program and compares its output with the file, word by word. Words are
# equal, or decimal fractions that differ by no more than the tolerance.
set -euo pipefail

"$3" | awk -v tolerance="$2" -v expected="$1" '
  function fail(why) { print "line " NR ": " why; failed = 1; exit }
  {
    if ((getline want < expected) <= 0) fail("unexpected: " $0)
    n = split(want, words, " ")
    if (n != NF) fail("expected: " want "\nactual: " $0)
    for (i = 1; i <= n; ++i) {
      if ($i == words[i]) continue
      difference = $i - words[i]
      if ($i !~ /^-?[0-9]*\.[0-9]+,?$/ || difference > tolerance || -difference > tolerance)
        fail("expected: " want "\nactual: " $0)
    }
  }
  END {
    if (!failed && (getline want < expected) > 0) { print "missing: " want; failed = 1 }
    exit failed
  }'
