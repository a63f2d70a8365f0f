# SPDX-License-Identifier: GPL-2.0-or-later
"""What a refusal looks like: one sentence and a hint on standard error, exit
code 1 (or 2 when the command line is wrong), nothing on standard output."""
import os
import subprocess

import conftest
from conftest import Result

INFO = "allocator calls a second on the busiest thread"  # said when it gets that far
ASIDE = (INFO, "is left out: ")  # and of a part that failed before the whole did


def run_as(prefix, *args, env=None, memwho=None, timeout=60):
    """memwho behind another command (setpriv, ...), as a Result."""
    p = subprocess.run([*prefix, memwho or conftest.MEMWHO, *map(str, args)],
                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       timeout=timeout, env={**os.environ, **(env or {})})
    return Result(args, p.returncode, p.stdout, p.stderr)


def is_refusal(result, *said, code=1, hint=True):
    """@said must all be in what it says. Returns the result."""
    assert result.code == code, result
    assert result.out == "", result
    lines = [line for line in result.err.splitlines() if not any(text in line for text in ASIDE)]
    assert len(lines) == (2 if hint else 1), result
    assert lines[0].startswith("memwho: ") and len(lines[0]) < 400, result
    assert not hint or (lines[1].startswith("hint: ") and len(lines[1]) > 12), result
    for text in said:
        assert text in result.err, (text, result)
    return result


def refused(*args, said=(), code=1, env=None, hint=True):
    said = (said,) if isinstance(said, str) else said
    return is_refusal(run_as([], *args, env=env), *said, code=code, hint=hint)
