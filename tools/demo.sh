#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# `./dev demo`: start a small program that leaks, show what its memory is, ask
# who allocated what it holds, leave the pictures in the build folder. Where BPF
# is not permitted the first half works all the same, and is the picture.
set -eu
build=${BUILD:-build}
held=$build/demo-held.svg
ladder=$build/demo-ladder.html
said=$build/demo.err

# as root, or with a sudo that asks for no password or has a terminal to ask on
root=
if [ "$(id -u)" != 0 ] && command -v sudo >/dev/null 2>&1; then
	if sudo -n true 2>/dev/null || [ -t 0 ]; then
		root=sudo
	fi
fi

"$build/tests/programs/demo" 120 >"$build/demo.pid" &
target=$!
trap 'kill "$target" 2>/dev/null || :' EXIT
trap 'exit 130' INT TERM
sleep 1

echo "demo: a small server runs as process $target and leaks; what is its memory?"
echo "+ memwho $target"
"$build/memwho" "$target"
rm -f "$held" "$ladder"
"$build/memwho" ladder -q "$target" -o "$ladder"

echo
echo "demo: and who allocated what it holds? watching it for 5 seconds"
echo "+ memwho alloc $target -d 5s -o $held"
if $root "$build/memwho" alloc "$target" -d 5s -o "$held" 2>"$said" && [ -s "$held" ]; then
	cat "$said" >&2
	picture=$held
else
	echo "demo: not permitted here ($(sed -n '1s/^memwho: //p' "$said")); a privileged run" \
		"adds which code allocated the bytes that are held, as a flame graph"
	picture=$ladder
fi
[ -s "$picture" ] || {
	echo "demo: no picture was written" >&2
	exit 1
}
echo
echo "demo: the picture is $PWD/$picture (open it in a browser)"
[ "$picture" = "$ladder" ] || echo "demo: and the address space by owner $PWD/$ladder"
