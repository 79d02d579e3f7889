#!/bin/sh
# pkg_config.sh PREFIX COMPILER PROGRAM OUTPUT PACKAGE...: compiles one file with what plain pkg-config says of the packages,
# runs it, and looks for the output.
set -eu

prefix=$1 compiler=$2 source=$3 output=$4
shift 4
pc=$(find "$prefix" -name xtgrad.pc)
PKG_CONFIG_PATH=$(dirname "$pc")
export PKG_CONFIG_PATH
program=$(mktemp)
trap 'rm -f "$program"' EXIT
# shellcheck disable=SC2046 # flags are words
"$compiler" -std=c++20 "$source" $(pkg-config --cflags --libs "$@") -o "$program"
"$program" | grep -q "$output"
