# SPDX-License-Identifier: GPL-2.0-or-later
"""What the checks share: the tracked files, C text without comments.

usage: tree.py ROOT SUFFIX...    list files, for the checks that are shell scripts
"""
import pathlib
import re
import subprocess
import sys


def names_by_git(root):
    try:
        # whoever owns the checkout: only names are read
        git = subprocess.run(["git", "-c", "safe.directory=*", "-C", root, "ls-files", "-co",
                              "--exclude-standard"], capture_output=True, text=True)
    except FileNotFoundError:
        return []
    return git.stdout.splitlines() if git.returncode == 0 else []


def files(root, *suffixes):
    """Tracked files, and new ones that git does not ignore; from a tarball: all."""
    names = set(names_by_git(root))
    if not names:
        below = (p.relative_to(root) for p in pathlib.Path(root).glob("**/*"))
        names = {str(p) for p in below if not p.parts[0].startswith(("build", ".git"))
                 and "__pycache__" not in p.parts}
    paths = [pathlib.Path(root) / n for n in sorted(names)]
    return [p for p in paths if p.is_file() and (not suffixes or p.suffix in suffixes)]


def c_code(text):
    """@text with comments and the contents of literals replaced by blanks."""
    def blank(m):
        s = m[0]
        return re.sub(r"[^\n]", " ", s) if s[0] == "/" else s[0] + " " * (len(s) - 2) + s[-1]
    return re.sub(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text,
                  flags=re.S)


def finish(bad):
    if bad:
        print("\n".join(bad))
    return 1 if bad else 0


if __name__ == "__main__":
    print("\n".join(str(p) for p in files(sys.argv[1], *sys.argv[2:])))
