#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# `./dev demo`: start a small program that leaks, ask memwho who holds its
# memory, leave the picture in the build folder.
set -eu
build=${BUILD:-build}
picture=$build/demo-held.svg
root=
[ "$(id -u)" = 0 ] || root=sudo

"$build/tests/programs/demo" 120 >"$build/demo.pid" &
target=$!
trap 'kill "$target" 2>/dev/null || :' EXIT
trap 'exit 130' INT TERM

echo "demo: a small server runs as process $target and leaks; watching it for 5 seconds"
echo "+ memwho alloc $target -d 5s -o $picture"
rm -f "$picture"
$root "$build/memwho" alloc "$target" -d 5s -o "$picture"
[ -s "$picture" ] || {
	echo "demo: no picture was written" >&2
	exit 1
}
echo
echo "demo: the picture is $PWD/$picture (open it in a browser)"
