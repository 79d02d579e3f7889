#!/usr/bin/env bash
#
# compare.bash [native] [--with-libtorch] [--rounds R] [--cases REGEX] [--threads LIST]
#   Runs the sides that tests/run has built beside each other, prints the medians of R rounds (5) for each number of
#   threads in LIST ('1 2'), writes them to build/benchmark/compare.json, and holds them against the bounds below. In
#   each round, case by case, one side after the other runs in a process of its own, so that drift hits all alike.
#
#   native   only this library, built for everybody and with -march=native

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
batch_norm/4096x1024 -     1.3
batch_norm/65536x64  -     1.3
batch_norm/32x64x1000 -    3'

sides=(xtgrad handwritten) rounds=5 cases=. counts='1 2' native=
if [[ ${1-} == native ]]; then
  sides=(xtgrad native) counts=1 native=1
  shift
fi
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
  local program=$root/build/release/tests/benchmarks/$1
  [[ $1 != native ]] || program=$root/build/native/tests/benchmarks/xtgrad
  OPENBLAS_NUM_THREADS=$3 OMP_NUM_THREADS=$2 "$program" --threads "$2" "${@:4}" 2>"$scratch/errors" || {
    cat "$scratch/errors" >&2
    exit 1
  }
}

# measure SIDE THREADS BLAS_THREADS FILTER: adds to the samples that report.awk reads.
measure() {
  run "$1" "$2" "$3" --benchmark_filter="$4" --benchmark_min_time=0.05 --benchmark_format=json >"$scratch/$1.json"
  awk -F': ' -v setting="$1 $2 $3" '
    function put() { if (name != "") print setting, name, cpu, wall, requests }
    $1 ~ /"name"/ { put(); name = $2; gsub(/[",]|\/real_time/, "", name); requests = "" }
    $1 ~ /"real_time"/ { wall = $2 + 0 }
    $1 ~ /"cpu_time"/ { cpu = $2 + 0 }
    $1 ~ /"pool_misses"/ { requests = $2 + 0 }
    END { put() }' "$scratch/$1.json" >>"$scratch/samples"
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

mapfile -t names < <(run xtgrad 1 1 --benchmark_list_tests | sed '/^copy/d; s,/real_time$,,' | grep -E -- "$cases")
((${#names[@]})) || refuse "no case matches $cases"
read -r before _ </proc/loadavg

for ((round = 1; round <= rounds; ++round)); do
  say "round $round of $rounds"
  for name in "${names[@]}"; do
    for count in $counts; do
      for side in "${sides[@]}"; do
        filter="^$name/"
        # The copy runs right before what is held beside it.
        [[ $side != xtgrad ]] || filter="^(${name%%/*}|copy)/${name#*/}/"
        measure "$side" "$count" 1 "$filter"
        # Debian's OpenBLAS has threads of its own beside libtorch's.
        [[ $side != libtorch || $count == 1 ]] || measure libtorch "$count" "$count" "$filter"
      done
    done
  done
done
if [[ ! $native && $cases == . ]]; then
  say "time per node"
  measure scaling 1 1 '^graph/(first|second)/(1000|10000000)/'
fi

context() { sed -n "s/^ *\"$1\": \"\(.*\)\",\{0,1\}$/\1/p" "$scratch/xtgrad.json"; }
read -r after _ </proc/loadavg
sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | uniq -c | sed "s/^ *\(.*\)/\1, load $before before and $after after the run/"
echo "OpenBLAS core $(context openblas_core), instruction set $(context instruction_set)"
printf '%s\n\n' "$(context compiler)"
mkdir -p "$root/build/benchmark"
awk -v bounds="$bounds" -v json="$root/build/benchmark/compare.json" -v native="$native" \
  -f "$root/tests/benchmarks/report.awk" "$scratch/samples"
