#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# ./dev fuzz NAME [SECONDS]: libFuzzer on one parser, under ASan and UBSan. What it
# finds stays in build-fuzz/; new inputs go to build-fuzz/corpus/NAME.
set -eu
build=${BUILD:-build}-fuzz
name=${1:-}
[ -n "$name" ] || {
	for file in tests/fuzz/fuzz_*.c; do
		[ -e "$file" ] || continue
		file=${file##*/fuzz_}
		echo "${file%.c}"
	done
	exit 0
}
[ -f "tests/fuzz/fuzz_$name.c" ] || {
	echo "fuzz: no tests/fuzz/fuzz_$name.c" >&2
	exit 2
}
tools/install-deps.sh --tests --fuzz
[ -f "$build/build.ninja" ] ||
	CC=clang meson setup "$build" -Db_sanitize=address,undefined -Db_lundef=false -Dtests=enabled \
		-Dlibfuzzer=true -Dc_args=-fsanitize=fuzzer-no-link >/dev/null
ninja -C "$build" "tests/fuzz/fuzz_$name"
mkdir -p "$build/corpus/$name"
exec "$build/tests/fuzz/fuzz_$name" -max_total_time="${2:-60}" -timeout=10 -rss_limit_mb=2048 \
	-artifact_prefix="$build/" "$build/corpus/$name" "tests/fuzz/corpus/$name"
