#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# clang-format 14 over the C files: other versions format otherwise, so without
# that one this is a skip (exit 77).
set -eu
cd "$1"
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
git ls-files -co --exclude-standard '*.c' '*.h' | grep -v '/fixtures/' | xargs "$tool" --dry-run -Werror
