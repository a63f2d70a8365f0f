# SPDX-License-Identifier: GPL-2.0-or-later
"""What the check-*.py share: the tracked files, C text without comments."""
import pathlib
import re
import subprocess


def files(root, *suffixes):
    """Tracked files, and new ones that git does not ignore; from a tarball: all."""
    git = subprocess.run(["git", "-C", root, "ls-files", "-co", "--exclude-standard"],
                         capture_output=True, text=True)
    if git.returncode == 0 and git.stdout:
        names = set(git.stdout.splitlines())
    else:
        names = {str(p.relative_to(root)) for p in pathlib.Path(root).glob("**/*")
                 if not str(p.relative_to(root)).startswith(("build", "."))}
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
