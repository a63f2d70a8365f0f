#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# clang-format 14 over the C files: other versions format otherwise, so without
# that one this is a skip (exit 77).
set -eu
tree=$(dirname "$0")/tree.py
tool=
for name in clang-format-14 clang-format; do
	if command -v "$name" >/dev/null && "$name" --version | grep -q 'version 14\.'; then
		tool=$name
		break
	fi
done
[ -n "$tool" ] || {
	echo "clang-format 14 is not installed"
	exit 77
}
python3 "$tree" "$1" .c .h | xargs "$tool" --dry-run -Werror
