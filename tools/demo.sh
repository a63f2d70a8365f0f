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
echo "+ memwho alloc $target -d 5s"
rm -f "$picture" "$build/demo-held.pb.gz"
$root "$build/memwho" alloc "$target" -d 5s -o "$build/demo-held.pb.gz"
"$build/memwho" render "$build/demo-held.pb.gz" -o "$picture"
"$build/memwho" render "$build/demo-held.pb.gz" --format table
[ -s "$picture" ] || {
	echo "demo: no picture was written" >&2
	exit 1
}
echo
echo "demo: the picture is $PWD/$picture (open it in a browser)"
echo "demo: the profile is $PWD/$build/demo-held.pb.gz (go tool pprof opens it, too)"
