# What .ci/install, examples/run and tests/run share.

root=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")

# Standard output belongs to the program that is run.
say() { echo "$*" >&2; }

refuse() {
  say "$*"
  exit 2
}

# The comment at the top of a script is its help.
show_help() { sed -n '3,/^$/s/^# \{0,1\}//p' "$0"; }

# quietly LOG COMMAND...: the output is shown only if the command fails.
quietly() {
  local log=$1
  shift
  "$@" >"$log" 2>&1 </dev/null && return
  tail -n 60 "$log" >&2
  say "failed: $* (whole log: $log)"
  exit 1
}

lock() {
  exec 9>"$1"
  command -v flock >/dev/null || return 0
  flock -n 9 || { say "waiting for another run to release $1" && flock 9; }
}

unlock() { exec 9>&-; }

# A build tree that was copied along with its checkout would go on building the original: it does not count.
is_configured() {
  [[ -e $root/build/$1/build.ninja ]] &&
    grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$root" "$root/build/$1/CMakeCache.txt"
}

# is_on PRESET [OPTION...]
is_on() {
  local preset=$1 option
  shift
  for option; do
    grep -q "^$option:[A-Z]*=ON$" "$root/build/$preset/CMakeCache.txt" || return
  done
}

# announce TEXT: says it after a second, unless it is killed before. There is nothing to read: it only waits.
announce() {
  local nothing
  exec {nothing}<> <(:)
  read -rt 1 -u "$nothing" || say "$*"
}

# build PRESET TARGET [OPTION...]: builds what is not up to date, with these options ON; silent if that is soon done.
# Options that are ON stay so, lest examples/run and tests/run undo each other's configuration.
build() {
  local preset=$1 target=$2 build=$root/build/$1 options=() option
  shift 2
  mkdir -p "$build"
  lock "$build/lock"
  # The packages of the tests may not be there.
  is_configured "$preset" || options=(--fresh -DXTGRAD_TESTS=OFF)
  # Only if something differs, for cmake takes a second; ninja itself notices changes of a CMakeLists.txt.
  if [[ ${options[*]} || $root/CMakePresets.json -nt $build/build.ninja ]] || ! is_on "$preset" "$@"; then
    for option; do options+=("-D$option=ON"); done
    say "configuring build/$preset"
    quietly "$build/configure.log" cmake -S "$root" --preset "$preset" "${options[@]}"
  fi
  announce "building build/$preset: $target" 9>&- &
  local announcer=$!
  quietly "$build/build.log" cmake --build "$build" --target "$target" -j "$(nproc)"
  kill "$announcer" 2>/dev/null || true
  unlock
}
