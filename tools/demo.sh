#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# `./dev demo`: start a small program that leaks, show what its memory is, ask
# who allocated what it holds, leave the pictures in the build folder. No privilege
# is needed: where BPF is not permitted memwho samples from inside the program, one
# that it starts itself where it may not look into others (ptrace_scope 1). Where
# that cannot be either, the first half is the picture.
set -eu
build=${BUILD:-build}
held=$build/demo-held.svg
ladder=$build/demo-ladder.html
said=$build/demo.err
picture=$ladder

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

# what is so quiet is sampled often
set --
$root "$build/memwho" doctor | grep -q '^ok *engine bpf' || set -- --engine agent --sample 8K

echo
echo "demo: and who allocated what it holds? watching it for 5 seconds"
echo "+ memwho alloc $target${1:+ $*} -d 5s -o $held"
if $root "$build/memwho" alloc "$target" "$@" -d 5s -o "$held" 2>"$said" && [ -s "$held" ]; then
	picture=$held
else
	echo "demo: not permitted here ($(sed -n 's/^memwho: //p' "$said" | tail -n 1));" \
		"the same with a program that memwho starts itself"
	echo "+ memwho run${1:+ $*} -d 5s -o $held -- $build/tests/programs/demo 8"
	if "$build/memwho" run "$@" -d 5s -o "$held" -- "$build/tests/programs/demo" 8 2>"$said" &&
		[ -s "$held" ]; then
		picture=$held
	fi
fi
cat "$said" >&2
if [ "$picture" = "$ladder" ]; then
	echo "demo: nor that; a privileged run adds which code allocated the bytes that are" \
		"held, as a flame graph"
fi
[ -s "$picture" ] || {
	echo "demo: no picture was written" >&2
	exit 1
}
echo
echo "demo: the picture is $PWD/$picture (open it in a browser)"
[ "$picture" = "$ladder" ] || echo "demo: and the address space by owner $PWD/$ladder"
