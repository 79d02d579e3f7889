# programs.bash CLAIM FOLDER: what the example programs in FOLDER do with their command lines; one claim a function.
set -euo pipefail
bin=$2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"

studies='standardise train_eval_gap batchnorm_gradients scale_invariance gradient_explosion smoothness
  precise_statistics batch_size_sweep batch_renorm barlow_twins paper_mnist'

fail() {
  echo "$*"
  exit 1
}

# refuses MESSAGE COMMAND...: the command exits with 2 and one line on stderr that holds MESSAGE, nothing on stdout.
refuses() {
  local message=$1 status=0
  shift
  "$@" >out 2>err || status=$?
  [[ $status == 2 ]] || fail "$*: exit status $status, expected 2"
  [[ $(wc -l <err) == 1 ]] || fail "$*: expected one line: $(cat err)"
  [[ $(cat err) == *"$message"* ]] || fail "$*: expected '$message' in: $(cat err)"
  [[ ! -s out ]] || fail "$*: printed before it failed: $(cat out)"
}

# reaches ACCURACY EPOCH FILE: the network with BatchNorm has a row for that epoch, with this accuracy in eval mode.
reaches() {
  awk -F, -v least="$1" -v epoch="$2" '
    $1 == "batchnorm" && $2 == epoch { ++n; good += $5 >= least }
    END { exit !(n == 1 && good) }' "$3" || fail "$(cat "$3")"
}

BadOptionsGetOneLineAndStatus2() {
  refuses '--epochs' "$bin/train_mlp" --epochs 0
  refuses '--epochs' "$bin/train_mlp" --epochs 3x
  refuses '--batch-size' "$bin/train_mlp" --batch-size 1
  refuses '--hidden' "$bin/train_mlp" --hidden 0
  refuses '--lr' "$bin/train_mlp" --lr nan
  refuses '--optimizer' "$bin/train_mlp" --optimizer adamm
  refuses '--seed' "$bin/train_mlp" --seed -1
  refuses '--threads' "$bin/train_mlp" --threads 0
  refuses '--verbose' "$bin/train_mlp" --verbose
  refuses 'extra' "$bin/train_mlp" extra
}

FilesThatCannotBeWrittenAreFoundBeforeTraining() {
  refuses 'nowhere' "$bin/train_mlp" --log nowhere/metrics.csv
  refuses 'nowhere' "$bin/train_mlp" --plot nowhere/curve.png
  refuses '.png or .svg' "$bin/train_mlp" --plot curve.pdf
  refuses '.csv or .jsonl' "$bin/train_mlp" --log metrics.txt
}

ACheckpointNeedsAPlaceAndIsNotOverwritten() {
  refuses '--checkpoint' "$bin/train_mlp" --resume
  refuses '--save-every' "$bin/train_mlp" --checkpoint run.safetensors --save-every 0
  "$bin/train_mlp" --epochs 1 --checkpoint run.safetensors >/dev/null
  refuses 'run.safetensors is there already' "$bin/train_mlp" --epochs 1 --checkpoint run.safetensors
  ! "$bin/train_mlp" --epochs 2 --checkpoint run.safetensors --resume >/dev/null 2>err || fail "other options are taken"
  [[ $(cat err) == *"--epochs 1"*"--epochs 2"* && $(wc -l <err) == 1 ]] || fail "$(cat err)"
  printf '1,2,0,1\n2,1,1,0\n3,3,0,1\n4,1,1,0\n5,3,0,0\n6,2,1,1\n7,1,0,0\n8,4,1,1\n' >rows.csv
  "$bin/train_mlp" --data rows.csv --epochs 2 --batch-size 4 --checkpoint rows.safetensors >/dev/null
  cp rows.safetensors before
  echo kept >log.csv
  local again=("$bin/train_mlp" --data rows.csv --epochs 2 --batch-size 4 --checkpoint rows.safetensors --resume --log log.csv)
  refuses 'it was made with' "${again[@]}" --label 2
  sed -i '3s/3,3,0,1/3,3,1,0/' rows.csv
  refuses 'it was made with' "${again[@]}"
  cmp rows.safetensors before && [[ $(cat log.csv) == kept ]] || fail "a refused run has changed a file"
  mv run.safetensors gone
  refuses 'rename it' "$bin/train_mlp" --epochs 1 --checkpoint run.safetensors --resume
  refuses 'log and checkpoint' "$bin/train_mlp" --epochs 1 --checkpoint same.csv --log same.csv
  ! "$bin/train_mlp" --checkpoint nowhere/run.safetensors >/dev/null 2>err || fail "no folder, no error"
  [[ $(cat err) == *"nowhere/run.safetensors: cannot be written: No such file or directory" ]] || fail "$(cat err)"
}

# Interrupted again and again, a run prints and logs what it does in one go; times apart.
AnInterruptedRunGoesOnAsIfItHadNotBeen() {
  "$bin/train_mlp" --epochs 100 --log whole.jsonl >whole
  local runs=0 interrupted=0 status=1 resume=
  while ((status != 0)); do
    ((++runs < 200)) || fail "the run does not end"
    "$bin/train_mlp" --epochs 100 --checkpoint run.safetensors --save-every 100 $resume --log parts.jsonl >parts 2>err &
    until [[ -e run.safetensors ]]; do sleep 0.01; done
    [[ ! $resume ]] || sleep "0.1$((RANDOM % 10))"
    kill -TERM $! 2>/dev/null || true  # a shell like this one lets its background ignore Ctrl-C
    status=0
    wait $! || status=$?
    if ((status != 0)); then
      ((status == 143)) || fail "status $status: $(cat err)"
      [[ $(cat err) == 'interrupted: '*' --resume goes on' ]] && ((++interrupted))
    fi
    resume=--resume
  done
  ((interrupted > 0)) || fail "no run was interrupted"
  cmp <(sed 's/,"samples_per_second.*//' whole.jsonl) <(sed 's/,"samples_per_second.*//' parts.jsonl)
  cmp <(sed 's/ *[0-9]*$//' whole) <(sed 's/ *[0-9]*$//' parts)
}

MissingAndUselessDataGetOneLineAndStatus2() {
  refuses 'missing.csv' "$bin/standardise" --data missing.csv
  printf 'a,b\n1,2\n' >one.csv
  refuses 'one.csv' "$bin/standardise" --data one.csv
  printf '1,2\n3,x\n' >text.csv
  refuses 'line 2' "$bin/standardise" --data text.csv
}

# claims FILE VERDICT: how many claims have this verdict.
claims() { grep -c "\"verdict\":\"$2\"" "$1" || true; }

# measured CLAIM FILE: what was measured for the claims with this in their text, a line each.
measured() { grep "\"claim\":\"[^\"]*$1" "$2" | grep -o '"measured":[^,]*' | cut -d: -f2; }

ScaleInvarianceMakesWeightDecayALearningRate() {
  "$bin/scale_invariance" --json claims.jsonl --csv curves.csv --plot curves.png >out
  [[ $(claims claims.jsonl reproduces) == 5 && $(wc -l <claims.jsonl) == 5 ]] || fail "$(cat out)"
  [[ $(wc -l <curves.csv) == 601 ]] || fail "expected 200 steps of three curves"
}

GradientsGrowAsTheorySays() {
  "$bin/gradient_explosion" --quick --seeds 8 --json claims.jsonl >out
  grep '"claim":"ReLU' claims.jsonl | grep -q '"verdict":"reproduces"' || fail "$(cat out)"
  # At width n within the tolerance, or too few seeds to say.
  ! grep -F '1 - 2/n' claims.jsonl | grep 'does not reproduce' || fail "$(cat out)"
  [[ $(grep falls claims.jsonl | grep -c '"verdict":"reproduces"') == 2 ]] || fail "$(cat out)"
}

SmallBatchesHurtBatchNorm() {
  "$bin/batch_size_sweep" --quick --json claims.jsonl --csv curves.csv >out 2>err
  [[ $(grep '"exact":true' claims.jsonl | claims - reproduces) == 2 && $(wc -l <claims.jsonl) == 11 ]] || fail "$(cat out)"
  # By far, with any kernels: accuracy at two rows, and what eps lets through.
  [[ $(grep -E 'at m = 60 minus m = 2|minus eval mode.*"<"' claims.jsonl | claims - reproduces) == 3 ]] || fail "$(cat out)"
  measured RMS claims.jsonl | awk '{ exit !($1 > 2.6 && $1 < 3.7) }' || fail "$(cat out)"
  [[ $(wc -l <curves.csv) == 16 && ! -s err ]] || fail "expected five sizes of three curves, and no warning: $(cat err)"
}

PreciseStatisticsHoldAgainstMovingAverages() {
  "$bin/precise_statistics" --quick --data digits --json claims.jsonl >out
  [[ $(grep '"exact":true' claims.jsonl | claims - reproduces) == 2 && $(wc -l <claims.jsonl) == 9 ]] || fail "$(cat out)"
  # A sampling error as theory says, or too few seeds to say.
  ! grep '"claim":"first layer' claims.jsonl | grep 'does not reproduce' || fail "$(cat out)"
  refuses '--data' "$bin/precise_statistics" --data moons
}

BarlowTwinsLearnsFeaturesAndItsDiagonalIsThatOfTheBiasedStd() {
  "$bin/barlow_twins" --quick --json claims.jsonl --csv curves.csv >out
  [[ $(wc -l <claims.jsonl) == 8 ]] || fail "$(cat out)"
  [[ $(grep '"exact":true' claims.jsonl | claims - reproduces) == 3 ]] || fail "$(cat out)"
  grep '"claim":"loss' claims.jsonl | grep -q '"verdict":"reproduces"' || fail "$(cat out)"
  # 20 epochs have three probes: of both encoders' curves, and beside each of the pixels' line
  [[ $(wc -l <curves.csv) == 13 ]] || fail "$(cat curves.csv)"
}

PaperMnistPutsBothClaimsToEveryCellOfTheGrid() {
  "$bin/paper_mnist" --quick --data digits --json claims.jsonl --csv curves.csv >out
  [[ $(grep -Ec '^(0\.01|0\.1|1/sqrt\(fan_in\)) +(0\.01|0\.1|1) ' out) == 9 ]] || fail "$(cat out)"
  # After 300 steps only BatchNorm has begun to learn, and only its sigmoids' inputs stand still.
  [[ $(grep 'mean accuracy' claims.jsonl | claims - reproduces) == 9 ]] || fail "$(cat out)"
  measured drift claims.jsonl | awk '{ less += $1 < 0 } END { exit !(NR == 9 && less == 9) }' || fail "$(cat out)"
  [[ $(wc -l <claims.jsonl) == 18 ]] || fail "$(cat out)"
  [[ $(wc -l <curves.csv) == 15 ]] || fail "expected seven evaluations of two networks: $(cat curves.csv)"
  refuses '--data' "$bin/paper_mnist" --data moons
}

SmoothnessKeepsEulersTheoremAndRenormalizationItsIdentities() {
  "$bin/smoothness" --quick --seeds 1 --json claims.jsonl >out
  [[ $(grep '"exact":true' claims.jsonl | claims - reproduces) == 3 && $(wc -l <claims.jsonl) == 8 ]] || fail "$(cat out)"
  [[ $(grep '"exact":false' claims.jsonl | claims - inconclusive) == 5 ]] || fail "one seed has no standard error: $(cat out)"
  "$bin/batch_renorm" --quick --json claims.jsonl >out
  [[ $(grep '"exact":true' claims.jsonl | claims - reproduces) == 2 && $(wc -l <claims.jsonl) == 6 ]] || fail "$(cat out)"
  # By far: outputs of both modes are nearer to each other.
  [[ $(grep 'BatchRenorm over' claims.jsonl | claims - reproduces) == 2 ]] || fail "$(cat out)"
}

EveryStudyRunsAndWhatIsExactHolds() {
  "$bin/studies" --quick --json results.jsonl >out
  # As many claims as there are lines, each with a number; what is exact is within a tolerance of rounding.
  awk -F'"' '
    function number(key) { return match($0, "\"" key "\":-?[0-9][0-9.e+-]*") ? substr($0, RSTART + length(key) + 3, RLENGTH - length(key) - 3) : "none" }
    { ++studies[$4]; if (number("measured") == "none") { print "no number: " $0; bad = 1 } }
    /"exact":true/ {
      ++exact
      off = number("measured") - number("expected")
      if (off < 0) off = -off
      if (off > number("tolerance") + 0 || number("tolerance") + 0 > 1e-8) { print; bad = 1 }
    }
    END {
      for (s in studies) ++n
      print NR " claims, " exact " of them exact, of " n " studies"
      exit bad || NR != 98 || exact != 32 || n != names
    }' names="$(wc -w <<<"$studies")" results.jsonl >counts || fail "$(cat counts)"
  # What theory says of networks that are not trained.
  [[ $(grep -E '"claim":"(ReLU, m = 128|share of a random)' results.jsonl | claims - reproduces) == 4 ]] || fail "$(cat out)"
  grep -Eq "^$(wc -l <results.jsonl) claims of [0-9]+ studies in" <(tail -n 1 out) || fail "$(tail -n 1 out)"
  refuses '--jobs' "$bin/studies" --jobs 0
  refuses 'nowhere' "$bin/studies" --json nowhere/results.jsonl
  refuses '--plots' "$bin/studies" --plots nowhere
}

BadOptionsOfStudiesGetOneLineAndStatus2() {
  for study in $studies; do
    refuses '--seeds' "$bin/$study" --seeds 0
    refuses 'nowhere' "$bin/$study" --json nowhere/claims.jsonl
    refuses '.png or .svg' "$bin/$study" --plot plot.gif
    refuses '.csv or .jsonl' "$bin/$study" --csv curves.txt
  done
}

WhatRoundingWouldDecideIsRefused() {
  refuses '--eps' "$bin/batchnorm_gradients" --eps 1e3
  refuses 'at most 176' "$bin/train_eval_gap" --layers 177 --batch-size 4
  refuses '--batch-size' "$bin/train_eval_gap" --batch-size 3
  for options in '--eps 100' '--eps 100 --batch-size 1437' '--eps 1 --batch-size 1437 --seed 2' '--batch-size 1437 --seed 3'; do
    "$bin/batchnorm_gradients" --quick $options
  done >out
  "$bin/train_eval_gap" --quick --layers 176 --batch-size 4 >>out
  ! grep 'does not reproduce' out || fail "$(cat out)"
}

InterruptedStudiesLeaveNothing() {
  mkdir tmp
  TMPDIR=$PWD/tmp "$bin/studies" --jobs 2 --json results.jsonl >out 2>&1 &
  local running=$! status=0
  for ((i = 0; i < 500; ++i)); do
    [[ $(echo tmp/*/*.err) != *' '* ]] || break
    sleep 0.02
  done
  ((i < 500)) || fail 'no two studies have begun'
  kill -TERM $running
  wait $running || status=$?
  [[ $status == 143 ]] || fail "exit status $status, expected 143: $(cat out)"
  [[ -z $(ls tmp) && ! -e results.jsonl ]] || fail "left behind: $(ls . tmp)"
  ! grep -aq "$PWD/tmp/[s]tudies" /proc/[0-9]*/cmdline 2>/dev/null || fail 'a study goes on'
}

HelpExitsWith0() {
  for program in train_mlp studies $studies; do
    "$bin/$program" --help >out || fail "$program --help fails"
    grep -q -- --help out || fail "$program --help does not mention itself"
  done
}

StandardisePrintsTheNumbersOfTheThread() {
  "$bin/standardise" >out
  # row, column, x, batch norm in train mode, (x - mean) / biased and unbiased std
  while read -r row column x train unbiased; do
    grep -Eq "^ *$row +$column +$x +$train +-?[0-9.]+ +$unbiased " out || fail "row $row, column $column: $(cat out)"
  done <<'END'
0 0 -0.3176 1.2727 1.0392
0 1 -1.0842 -1.2655 -1.0333
1 0 -1.1290 -0.1024 -0.0836
1 1 -0.0545 1.1794 0.9630
2 0 -1.7591 -1.1703 -0.9556
2 1 -0.5150 0.0860 0.0702
END
  # column, mean, unbiased variance and std, running mean and variance
  while read -r column mean var std running_mean running_var; do
    grep -Eq "^ *$column +$mean +[0-9.]+ +$var +$std +$running_mean +$running_var$" out || fail "column $column: $(cat out)"
  done <<'END'
0 -1.0686 0.5222 0.7227 -0.1069 0.9522
1 -0.5512 0.2660 0.5158 -0.0551 0.9266
END
  grep -q '^num_batches_tracked = 1$' out
  [[ $(grep -c '^  [a-z]' out) == 5 ]] || fail "expected five reasons: $(cat out)"
}

StandardiseTakesAUsersFile() {
  # var = 2 biased, 4 unbiased; the second column is constant
  printf 'height,same\n1,7\n3,7\n5,7\n3,7\n' >data.csv
  "$bin/standardise" --data data.csv >out
  grep -Eq '^ *0 +height +1.0000 +-1.4142 +-1.4142 +-1.2247 ' out || fail "$(cat out)"
  grep -Eq '^ *height +3.0000 +2.0000 +2.6667 +1.6330 +0.3000 +1.1667$' out || fail "$(cat out)"
  grep -q 'column same: all values are equal' out || fail "$(cat out)"
}

TrainMlpReaches97PercentAndEndsWithTheTable() {
  "$bin/train_mlp" --log metrics.csv >out
  [[ $(head -n 1 metrics.csv) == model,epoch,loss,train_mode_accuracy,eval_mode_accuracy,samples_per_second ]]
  [[ $(wc -l <metrics.csv) == 41 ]] || fail "expected 2 x 20 epochs"
  reaches 0.97 20 metrics.csv
  awk -F, '$1 == "plain" { ++n; same += $4 == $5 } END { exit !(n == 20 && same == n) }' metrics.csv ||
    fail "a network without BatchNorm has but one mode"
  # statistics, batch size and rows of the last five lines
  diff - <(tail -n 5 out | sed -E 's/ {2,}/|/g' | cut -d'|' -f1-3) <<'END' || fail "$(cat out)"
running (eval mode)|any|359
batch (train mode)|2|358
batch (train mode)|8|359
batch (train mode)|64|359
batch (train mode)|359|359
END
  ! grep -q $'\r' out || fail "a progress bar on a pipe"
}

TrainMlpPrintsWhatWillGoWrong() {
  "$bin/train_mlp" --epochs 1 >out
  ! grep -q '; ' <(grep BatchNorm1d out | grep -v '^  ') || fail "found something in a good set-up: $(cat out)"
  "$bin/train_mlp" --epochs 1 --optimizer adamw >out
  grep -q '^1 BatchNorm1d(64): weight decay 0.01 on gamma' out || fail "$(cat out)"
  "$bin/train_mlp" --epochs 1 --batch-size 2 >out 2>err
  grep -q '^loader: batches of 2 rows' out || fail "$(cat out)"
}

BatchnormGradientsShowsEveryLawWithItsResidual() {
  for eps in 0 1e-5 0.1; do
    "$bin/batchnorm_gradients" --eps $eps --batch-size 20 --json claims.jsonl >out
    [[ $(claims claims.jsonl reproduces) == 13 ]] || fail "$(cat claims.jsonl)"
    # nine laws on each of two layers; the last column is the residual
    grep -E '^[14] BatchNorm1d' out | awk '{ ++n; bad += !($NF + 0 <= 1e-12) } END { exit !(n == 18 && !bad) }' || fail "$(cat out)"
    # an element, its finite difference, and what it would be if the statistics were constants
    awk '/finite difference/ { on = 1 } /^$/ { on = 0 } on && NF == 5 && $1 ~ /^[0-9]+$/ {
           ++n; d = $3 - $4; wrong = $3 - $5; bad += d * d > 1e-10 * $3 * $3; differs += wrong * wrong > 1e-6 * $3 * $3
         } END { exit !(n == 5 && !bad && differs == 5) }' out || fail "$(cat out)"
  done
  refuses '--batch-size' "$bin/batchnorm_gradients" --batch-size 2
  refuses '--eps' "$bin/batchnorm_gradients" --eps -1
  refuses '.png or .svg' "$bin/batchnorm_gradients" --plot laws.pdf
}

TrainEvalGapAddsUpAndPredictsItsScales() {
  "$bin/train_eval_gap" >out
  # the sum of the parts is the gap, to the digits that are printed
  local sum gap
  sum=$(awk '$1 == "sum" { print $2, $3 }' out)
  gap=$(awk '/^measured: EMA/ { print $5, $6 }' out)
  [[ $sum =~ ^[-+.0-9]+' '[-+.0-9]+$ && $sum == "$gap" ]] || fail "$(cat out)"
  # scale and shift as predicted, within 1 %; layer and part are words of varying number before six numbers
  awk 'function apart(p, m) { return m - p > 0.01 * p + 1e-5 || p - m > 0.01 * p + 1e-5 }
       $2 ~ /^BatchNorm1d/ { ++n; bad += apart($(NF - 4), $(NF - 3)) || apart($(NF - 1), $NF) }
       END { exit !(n == 12 && !bad) }' out || fail "$(cat out)"
  "$bin/train_eval_gap" --layers 10 --batch-size 32 --json claims.jsonl >out
  [[ $(claims claims.jsonl reproduces) == 4 ]] || fail "$(cat claims.jsonl)"
  grep -q '"claim":"chain of 10 layers.*"expected":0.85321' claims.jsonl || fail "$(cat claims.jsonl)"
  refuses '--layers' "$bin/train_eval_gap" --layers 0
}

TrainMlpReaches89PercentOnFashionImages() {
  "$bin/train_mlp" --data fashion --log metrics.csv >out
  grep -q '^fashion: 60000 rows to train on, 10000 held out, 10 classes' out || fail "$(cat out)"
  reaches 0.895 10 metrics.csv
}

TrainMlpLearnsPointsOfThePlane() {
  "$bin/train_mlp" --data moons --log moons.csv >/dev/null
  "$bin/train_mlp" --data spirals --epochs 60 --log spirals.csv >/dev/null
  reaches 0.9 20 moons.csv
  reaches 0.9 60 spirals.csv
}

TrainMlpTakesAUsersFile() {
  # the class says whether the second number is above 100; the first and the third say nothing
  awk 'BEGIN { print "a,class,b,c"; for (i = 0; i < 200; ++i) print i % 7 "," (i * 37 % 200 > 100) "," i * 37 % 200 "," 5 }' \
    >data.csv
  "$bin/train_mlp" --data data.csv --label class --log name.csv >out
  grep -q '^data.csv: 160 rows to train on, 40 held out, 2 classes' out || fail "$(cat out)"
  "$bin/train_mlp" --data ./data.csv --label 1 --log index.csv >/dev/null
  cmp <(cut -d, -f1-5 name.csv) <(cut -d, -f1-5 index.csv)
  reaches 0.95 20 name.csv
  refuses 'kind' "$bin/train_mlp" --data data.csv --label kind
  refuses 'there are 4' "$bin/train_mlp" --data data.csv --label 4
}

UnknownDataGetsOneLineWithTheNamesThereAre() {
  refuses 'digits, fashion, mnist, moons, spirals' "$bin/train_mlp" --data digit
  refuses 'a CSV file' "$bin/train_mlp" --data digits --label 3
  refuses 'nowhere.csv' "$bin/train_mlp" --data nowhere.csv
}

TheSameSeedGivesTheSameNumbers() {
  for run in 1 2; do
    "$bin/train_mlp" --epochs 2 --seed 5 --log $run.csv >/dev/null
    cut -d, -f1-5 $run.csv >$run
  done
  "$bin/train_mlp" --epochs 2 --seed 5 --threads 2 --log threads.csv >/dev/null
  cmp 1 2 && cmp 1 <(cut -d, -f1-5 threads.csv)
  "$bin/train_mlp" --epochs 2 --seed 6 --log other.csv >/dev/null
  ! cmp -s 1 <(cut -d, -f1-5 other.csv) || fail "the seed changes nothing"
}

EveryOptionOfTrainMlpWorks() {
  "$bin/train_mlp" --epochs 2 --batch-size 64 --hidden 32,16 --lr 0.05 --optimizer sgd --schedule constant --seed 3 --threads 2 \
    --plot curve.png --log metrics.csv >out
  grep -q 'BatchNorm1d(16)' out || fail "$(cat out)"
  for optimizer in adamw rmsprop; do
    "$bin/train_mlp" --epochs 3 --optimizer $optimizer --lr 0.005 --log $optimizer.csv >/dev/null
    reaches 0.9 3 $optimizer.csv
  done
  [[ $(head -c 8 curve.png | od -An -tx1 | tr -d ' \n') == 89504e470d0a1a0a ]] || fail "not a PNG"
}

"$1"
