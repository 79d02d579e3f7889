#!/usr/bin/env bash
#
# compare.bash [--with-libtorch] [--rounds R] [--cases REGEX] [--threads LIST]
#   Runs the sides in build/release beside each other, prints the medians of R rounds (5) for each number of threads in
#   LIST ('1 2'), writes them to compare.json beside the build folders, and holds them against the bounds below.
#   In each round every side runs each family of cases in a process of its own, so that drift hits all alike.

set -euo pipefail
source "$(dirname "$(realpath "$0")")/../../.ci/lib.bash"

# What must hold on one thread: xtgrad's time at most so many times that of the hand-written step, and libtorch's at
# least so many times xtgrad's.
bounds='
train_step/tiny      1.5   22
train_step/digits    1.25  12
train_step/paper     1.08  2.0
train_step/mnist     1.08  2.1
train_step/wide      1.08  1.3
eval_forward/tiny    -     8
eval_forward/digits  -     3
eval_forward/paper   -     1.2
eval_forward/mnist   -     1.05
eval_forward/wide    -     0.97
batch_norm/3x2       -     20
batch_norm/128x256   -     3
batch_norm/65536x64  -     1.3
batch_norm/4096x1024 -     1.3'

programs=$root/build/release/tests/benchmarks
sides=(xtgrad handwritten) rounds=5 cases=. counts='1 2'
while (($#)); do
  case $1 in
    --with-libtorch) sides+=(libtorch) ;;
    --rounds) rounds=${2?} && shift ;;
    --cases) cases=${2?} && shift ;;
    --threads) counts=${2?} && shift ;;
    *) refuse "tests/run benchmark: no option $1; see tests/run --help" ;;
  esac
  shift
done

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# Some machines export a core that is slower than their own.
unset OPENBLAS_CORETYPE

# run SIDE THREADS BLAS_THREADS ARGUMENT...: only libtorch leaves threads to OpenBLAS.
run() {
  OPENBLAS_NUM_THREADS=$3 OMP_NUM_THREADS=$2 "$programs/$1" --threads "$2" "${@:4}" 2>"$scratch/stderr" || {
    cat "$scratch/stderr" >&2
    exit 1
  }
}

# Google Benchmark's JSON -> lines `case microseconds` and `misses case count`.
samples_of() {
  awk -F': ' '
    $1 ~ /"name"/ { name = $2; gsub(/[",]|\/real_time/, "", name) }
    $1 ~ /"real_time"/ { print name, $2 + 0 }
    $1 ~ /"pool_misses"/ { print "misses", name, $2 + 0 }'
}

# Do all sides do the same work?
for side in "${sides[@]}"; do
  run "$side" 1 1 --check | sed "s/^/$side /"
done >"$scratch/checks"
awk '
  $1 == "xtgrad" { expected[$2] = $3 }
  { error = $3 / expected[$2] - 1 }
  error * error > 1e-6 || $3 != $3 + 0 { printf "%s: %s has %s, xtgrad %s\n", $2, $1, $3, expected[$2]; failed = 1 }
  END { exit failed }' "$scratch/checks" >&2 || refuse "the sides do not do the same work"

# For each family of cases a filter for Google Benchmark.
mapfile -t filters < <("$programs/xtgrad" --benchmark_list_tests | sed 's,/real_time$,,' | awk -F/ -v cases="$cases" '
  $0 ~ cases {
    family = $1 == "copy" ? "batch_norm" : $1
    if (!(family in names)) order[++families] = family
    names[family] = names[family] "|" $0
  }
  END { for (i = 1; i <= families; ++i) print "^(" substr(names[order[i]], 2) ")/" }')
((${#filters[@]})) || refuse "no case matches $cases"

# measure SIDE THREADS BLAS_THREADS FILTER
measure() {
  run "$1" "$2" "$3" --benchmark_filter="$4" --benchmark_min_time=0.1 --benchmark_format=json |
    tee "$scratch/last.$1.json" | samples_of | sed "s/^/$1 $2 $3 /" >>"$scratch/samples"
}

for ((round = 1; round <= rounds; ++round)); do
  for filter in "${filters[@]}"; do
    for count in $counts; do
      say "round $round of $rounds, threads $count: $filter"
      for side in "${sides[@]}"; do
        measure "$side" "$count" 1 "$filter"
        # Debian's OpenBLAS has threads beside libtorch's.
        [[ $side != libtorch || $count == 1 ]] || measure "$side" "$count" "$count" "$filter"
      done
    done
  done
done

context() { sed -n "s/^ *\"$1\": \"\(.*\)\",\{0,1\}$/\1/p" "$scratch/last.xtgrad.json"; }
echo "OpenBLAS core $(context openblas_core), instruction set $(context instruction_set), $(context compiler)"
sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | uniq -c | sed 's/^ *//'

mkdir -p "$root/build/benchmark"
awk -v bounds="$bounds" -v json="$root/build/benchmark/compare.json" '
  function median(list,   values, n, i, j, swap) {
    n = split(list, values)
    if (n == 0) return ""
    for (i = 2; i <= n; ++i)
      for (j = i; j > 1 && values[j - 1] + 0 > values[j] + 0; --j) {
        swap = values[j]; values[j] = values[j - 1]; values[j - 1] = swap
      }
    return n % 2 ? values[(n + 1) / 2] + 0 : (values[n / 2] + values[n / 2 + 1]) / 2
  }
  function time(side, threads, name) { return median(samples[side, threads, 1, name]) }
  # The better of its settings: no more threads than are allowed, its own and those of OpenBLAS.
  function libtorch(threads, name,   t, blas, us, best) {
    for (t = 1; t <= threads; ++t)
      for (blas = 1; blas <= threads; ++blas) {
        us = median(samples["libtorch", t, blas, name])
        if (us != "" && (best == "" || us < best)) best = us
      }
    return best
  }
  function number(x) { return x == "" ? "-" : sprintf(x < 100 ? "%.2f" : "%.0f", x) }
  function ratio(x, y) { return x == "" || y == "" || y == 0 ? "" : x / y }
  function or_null(x) { return x == "" ? "null" : sprintf("%.6g", x) }
  function verdict(good, text) {
    printf "%s  %s\n", good ? "passed" : "FAILED", text
    failed += !good
  }

  $4 == "misses" { misses[$5] += $6; next }
  {
    samples[$1, $2, $3, $4] = samples[$1, $2, $3, $4] " " $5
    if (!($4 in seen)) { seen[$4] = 1; names[++cases] = $4 }
    threads[$2] = 1
  }
  END {
    for (count = 1; count <= 64; ++count) {
      if (!(count in threads)) continue
      printf "\n%d thread%s, microseconds\n", count, count == 1 ? "" : "s"
      printf "%-22s %10s %12s %10s %20s %17s\n", "case", "xtgrad", "hand-written", "libtorch", "xtgrad/hand-written",
             "libtorch/xtgrad"
      for (i = 1; i <= cases; ++i) {
        name = names[i]
        x = time("xtgrad", count, name); h = time("handwritten", count, name); l = libtorch(count, name)
        if (name ~ /^copy/) continue
        printf "%-22s %10s %12s %10s %20s %17s\n", name, number(x), number(h), number(l), number(ratio(x, h)),
               number(ratio(l, x))
        printf "%s  {\"case\": \"%s\", \"threads\": %d, \"xtgrad_us\": %s, \"handwritten_us\": %s, \"libtorch_us\": %s}",
               entries++ ? ",\n" : "[\n", name, count, or_null(x), or_null(h), or_null(l) >json
      }
    }
    print "\n]" >json
    print ""

    n = split(bounds, lines, "\n")
    for (i = 1; i <= n; ++i) {
      if (split(lines[i], bound, " ") < 3 || !(bound[1] in seen) || !(1 in threads)) continue
      name = bound[1]
      x = time("xtgrad", 1, name); h = ratio(x, time("handwritten", 1, name)); l = ratio(libtorch(1, name), x)
      text = name ":"; good = 1
      if (bound[2] != "-") {
        text = text sprintf(" %.2f of hand-written (at most %s)%s", h, bound[2], l == "" ? "" : ",")
        good = h <= bound[2]
      }
      if (l != "") {
        text = text sprintf(" %s times libtorch (at least %s)", number(l), bound[3])
        good = good && l >= bound[3]
      }
      if (bound[2] != "-" || l != "") verdict(good, text)
    }
    # Forward reads x twice and writes y, backward reads x and dy twice and writes dx: 8 arrays. The copy moves 4.
    for (i = 1; i <= cases; ++i) {
      name = names[i]
      if (sub(/^copy/, "batch_norm", name) && 1 in threads) {
        share = 100 * 2 * time("xtgrad", 1, names[i]) / time("xtgrad", 1, name)
        verdict(share >= 50, sprintf("%s: bytes pass at %.0f %% of the rate of a copy (at least 50)", name, share))
      }
    }
    for (name in misses) if (misses[name] > 0) {
      verdict(0, sprintf("%s: asked the system for memory %d times", name, misses[name]))
      asked = 1
    }
    if (!asked) verdict(1, "no case asks the system for memory")
    if (1 in threads && 2 in threads)
      for (i = 1; i <= cases; ++i) {
        name = names[i]
        if (name ~ /^copy/) continue
        gain = ratio(time("xtgrad", 1, name), time("xtgrad", 2, name))
        least = name ~ /^train_step\/(mnist|wide)$/ ? 1.5 : 0.95
        verdict(gain >= least, sprintf("%s: 2 threads are %.2f times as fast as 1 (at least %s)", name, gain, least))
      }
    exit failed > 0
  }' "$scratch/samples"
