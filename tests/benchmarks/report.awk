# What compare.bash prints of its samples, lines `side threads blas_threads case cpu_us wall_us [requests for memory]`.
# One thread is timed by the processor's clock, which stands while others have the processor, more by that on the wall.
#
#   -v bounds=TEXT   lines `case A B`: at most A times the hand-written time (-: any), at least B times as fast as libtorch
#   -v json=FILE     where the table goes as well
#   -v native=1      the sides are xtgrad and native

{
  samples["cpu", $1, $2, $3, $4] = samples["cpu", $1, $2, $3, $4] " " $5
  samples["wall", $1, $2, $3, $4] = samples["wall", $1, $2, $3, $4] " " $6
  requests[$4] += $7
  threads[$2] = 1
  if (!($4 in seen) && $4 !~ /^(copy|graph)/) names[++cases] = $4
  seen[$4] = 1
}

function median(list,   values, n, i, j, swap) {
  n = split(list, values)
  if (n == 0) return ""
  for (i = 2; i <= n; ++i)
    for (j = i; j > 1 && values[j - 1] + 0 > values[j] + 0; --j) {
      swap = values[j]
      values[j] = values[j - 1]
      values[j - 1] = swap
    }
  return n % 2 ? values[(n + 1) / 2] + 0 : (values[n / 2] + values[n / 2 + 1]) / 2
}

function us(side, threads, name) { return median(samples[threads == 1 ? "cpu" : "wall", side, threads, 1, name]) }

# The better of its settings: no more threads than are allowed, its own and those of OpenBLAS.
function libtorch_us(threads, name,   t, blas, time, best) {
  for (t = 1; t <= threads; ++t)
    for (blas = 1; blas <= threads; ++blas) {
      time = median(samples[threads == 1 ? "cpu" : "wall", "libtorch", t, blas, name])
      if (time != "" && (best == "" || time < best)) best = time
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

function table(count,   i, name, x, h, l) {
  printf "%d thread%s, microseconds\n", count, count == 1 ? "" : "s"
  printf "%-22s %9s %12s %8s  %19s %15s\n", "case", "xtgrad", "hand-written", "libtorch", "xtgrad/hand-written",
         "libtorch/xtgrad"
  for (i = 1; i <= cases; ++i) {
    name = names[i]
    x = us("xtgrad", count, name)
    h = us("handwritten", count, name)
    l = libtorch_us(count, name)
    printf "%-22s %9s %12s %8s  %19s %15s\n", name, number(x), number(h), number(l), number(ratio(x, h)),
           number(ratio(l, x))
    printf "%s  {\"case\": \"%s\", \"threads\": %d, \"xtgrad_us\": %s, \"handwritten_us\": %s, \"libtorch_us\": %s}",
           entries++ ? ",\n" : "[\n", name, count, or_null(x), or_null(h), or_null(l) >json
  }
  print ""
}

function judge_one_thread(   n, i, lines, bound, name, x, h, l, text, share, asked, few, many) {
  n = split(bounds, lines, "\n")
  for (i = 1; i <= n; ++i) {
    if (split(lines[i], bound, " ") != 3 || !(bound[1] in seen)) continue
    name = bound[1]
    x = us("xtgrad", 1, name)
    h = ratio(x, us("handwritten", 1, name))
    l = ratio(libtorch_us(1, name), x)
    text = ""
    if (bound[2] != "-") text = sprintf(" %.2f of hand-written (at most %s)", h, bound[2])
    if (l != "") text = text (text == "" ? "" : ",") sprintf(" %.2f times as fast as libtorch (at least %s)", l, bound[3])
    if (text != "") verdict((bound[2] == "-" || h <= bound[2]) && (l == "" || l >= bound[3]), name ":" text)
  }
  # Forward reads x twice and writes y, backward reads x and dy twice and writes dx: 8 arrays. The copy moves 4.
  for (i = 1; i <= cases; ++i) {
    name = names[i]
    if (!sub(/^batch_norm/, "copy", name) || !(name in seen)) continue
    share = 100 * 2 * us("xtgrad", 1, name) / us("xtgrad", 1, names[i])
    verdict(share >= 50, sprintf("%s: bytes pass at %.0f %% of the rate of a copy (at least 50)", names[i], share))
  }
  if ("graph/second/1000" in seen) {
    few = us("scaling", 1, "graph/second/1000") / 1e3
    many = us("scaling", 1, "graph/second/10000000") / 1e7
    verdict(many <= 4 * few,
            sprintf("10^7 nodes: %.0f ns each, %.2f times that of 1000 (at most 4); the first time %.0f ns", 1e3 * many,
                    many / few, 1e3 * us("scaling", 1, "graph/first/10000000") / 1e7))
  }
  for (name in requests)
    if (requests[name] > 0) asked = asked " " name
  verdict(asked == "", "no case asks the system for memory" (asked == "" ? "" : ", except" asked))
}

# Nothing may be slower with two threads, within what two measurements differ by.
function judge_two_threads(   i, gain, least) {
  for (i = 1; i <= cases; ++i) {
    gain = ratio(median(samples["wall", "xtgrad", 1, 1, names[i]]), us("xtgrad", 2, names[i]))
    least = names[i] ~ /^train_step\/(mnist|wide)$/ ? 1.5 : 0.95
    verdict(gain >= least, sprintf("%s: 2 threads are %.2f times as fast as 1 (at least %s)", names[i], gain, least))
  }
}

function compare_native(   i, x, y, slow) {
  printf "%-22s %9s %8s %16s\n", "case", "portable", "native", "portable/native"
  for (i = 1; i <= cases; ++i) {
    x = us("xtgrad", 1, names[i])
    y = us("native", 1, names[i])
    printf "%-22s %9s %8s %16s\n", names[i], number(x), number(y), number(x / y)
    if (x > 1.05 * y) slow = slow " " names[i]
  }
  print ""
  verdict(slow == "", "the portable build takes at most 1.05 times as long" (slow == "" ? "" : ", except for" slow))
}

END {
  if (native) {
    compare_native()
  } else {
    for (count = 1; count <= 64; ++count)
      if (count in threads) table(count)
    print "\n]" >json
    if (1 in threads) judge_one_thread()
    if (1 in threads && 2 in threads) judge_two_threads()
  }
  exit(failed > 0)
}
