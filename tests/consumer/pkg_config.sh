#!/bin/sh
# pkg_config.sh PREFIX COMPILER PROGRAM: compiles one file with what plain pkg-config says, and runs it.
set -eu

pc=$(find "$1" -name xtgrad.pc)
PKG_CONFIG_PATH=$(dirname "$pc")
export PKG_CONFIG_PATH
program=$(mktemp)
trap 'rm -f "$program"' EXIT
# shellcheck disable=SC2046 # flags are words
"$2" -std=c++20 "$3" $(pkg-config --cflags --libs xtgrad) -o "$program"
"$program" | grep -q '^test accuracy: 0\.9'
