#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
set -eu
cd "$1"
command -v shellcheck >/dev/null || {
	echo "shellcheck is not installed"
	exit 77
}
python3 tools/tree.py . .sh | xargs shellcheck dev .ci/run tests/vm/init
