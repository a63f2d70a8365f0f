# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""A check that cannot fail checks nothing: each mistake is made once here."""
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from conftest import BUILD, MEMWHO, SOURCE

SPDX = "/* SPDX-License-Identifier: GPL-2.0-or-later */\n"
TOOLS = SOURCE / "tools"


def check(name, *args, env=None):
    p = subprocess.run([sys.executable, TOOLS / f"check-{name}.py", *map(str, args)],
                       capture_output=True, text=True, env={**os.environ, **(env or {})})
    return p.returncode, p.stdout + p.stderr


def tree(tmp_path, **files):
    """A tree of one or more files; "__" in a name stands for "/" and a last
    "_" for the dot."""
    for name, text in files.items():
        stem, _, suffix = name.replace("__", "/").rpartition("_")
        path = tmp_path / f"{stem}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


@pytest.mark.parametrize("name, text, said", [
    ("layers", '#include "cli/cli.h"\n', "base/ may not include cli/"),
    ("banned", "void x_f(char *a)\n{\n\tstrcpy(a, \"b\");\n}\n", "strcpy() is banned"),
    ("banned", "void x_f(void)\n{\n\tprintf(\"b\");\n}\n", "printf() is banned"),
    ("banned", "int x_f(char *a)\n{\n\treturn atoi (a);\n}\n", "atoi() is banned"),
    ("sizes", "int x_f(void)\n{\n" + "\t;\n" * 100 + "}\n", "x_f() has 102 lines"),
    ("sizes", "\n" * 1001, "1002 lines"),
    ("spdx", "/* built in /work" + "/wt/x */\n", "names a place"),
    ("includes", "#include <stdio.h>\n#include <stdio.h>\n", "included twice"),
    ("includes", '#include "base/nothing.h"\n', "no src/base/nothing.h"),
])
def test_a_mistake_in_c_is_found(tmp_path, name, text, said):
    code, out = check(name, tree(tmp_path, src__base__x_c=SPDX + text))
    assert code == 1 and said in out


def test_a_file_without_licence_is_found(tmp_path):
    code, out = check("spdx", tree(tmp_path, src__base__x_c="int x;\n"))
    assert code == 1 and "src/base/x.c: no SPDX line" in out


def test_a_command_that_cannot_be_run_is_found(tmp_path):
    root = tree(tmp_path, README_md="`./dev bench one`\n" * 20 + "`./dev matrix two`\n", bench__one_py="", tests__matrix__two_sh="")
    os.chmod(root / "tests/matrix/two.sh", 0o755)
    code, out = check("commands", root)
    assert code == 1 and "./dev bench one" in out and "two" not in out
    os.chmod(root / "bench/one.py", 0o755)
    assert check("commands", root) == (0, "")


def test_a_header_without_pragma_is_found(tmp_path):
    code, out = check("includes", tree(tmp_path, src__base__x_h=SPDX + "int x;\n"))
    assert code == 1 and "no #pragma once" in out


def test_what_is_right_passes(tmp_path):
    good = (SPDX + "#include \"base/x.h\"\n\n#include <stdio.h>\n\n"
            "/* never strcpy( here */\nint x_f(void)\n{\n\treturn \"atoi(1)\"[0];\n}\n")
    root = tree(tmp_path, src__base__x_c=good, src__base__x_h=SPDX + "#pragma once\nint x_f(void);\n")
    for name in ("layers", "banned", "sizes", "spdx", "includes"):
        assert check(name, root)[0] == 0, name


def archive(tmp_path, code):
    (tmp_path / "thing.c").write_text(code)
    subprocess.run(["cc", "-c", "thing.c", "-o", "thing.c.o"], cwd=tmp_path, check=True)
    subprocess.run(["ar", "rc", "libthing.a", "thing.c.o"], cwd=tmp_path, check=True)
    return tmp_path / "libthing.a"


def test_a_foreign_name_is_found(tmp_path):
    code, out = check("symbols", archive(tmp_path, "int thing_a, other;\n"))
    assert code == 1 and "exports other" in out and "thing_a" not in out
    assert check("symbols", archive(tmp_path, "int thing_a; static int other;"
                                              "int *thing(void) { return &other; }\n"))[0] == 0


def test_misformatted_code_is_found(tmp_path):
    shutil.copy(SOURCE / ".clang-format", tmp_path)
    tree(tmp_path, src__x_c="int  x ;\n")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    p = subprocess.run([TOOLS / "check-format.sh", tmp_path], capture_output=True, text=True)
    if p.returncode == 77:
        pytest.skip(p.stdout.strip())
    assert p.returncode not in (0, 77) and "x.c" in p.stderr


def fake_memwho(tmp_path, python):
    """memwho with its output edited by an expression over `out` and `words`."""
    path = tmp_path / "memwho"
    path.write_text(f"#!{sys.executable}\nimport subprocess, sys\nwords = sys.argv[1:]\n"
                    f"p = subprocess.run(['{MEMWHO}'] + words, capture_output=True, text=True)\n"
                    f"out, err, code = p.stdout, p.stderr, p.returncode\n{python}\n"
                    "sys.stdout.write(out); sys.stderr.write(err); sys.exit(code)\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("python, said", [
    ("if words == ['version', '--help']: out = out.replace('usage', 'usage' + 60 * 'x')", "columns"),
    ("if words == ['version', '-h']: out += 'more'", "differ"),
    ("if '--help' in words: out, err = '', out", "stderr"),
    ("if 'version' in words: out = out.replace('--json', '--jsun')", "--json is not in its help"),
    ("if '-Z' in words: code = 1", "exit 1"),
    ("if '--no-such-option' in words: out, err = err, ''", "stdout"),
])
def test_help_that_breaks_a_rule_is_found(tmp_path, python, said):
    code, out = check("help", fake_memwho(tmp_path, python))
    assert code == 1 and said in out
    assert check("help", MEMWHO)[0] == 0


def test_a_man_page_that_differs_is_found(tmp_path):
    shutil.copytree(SOURCE / "docs" / "man", tmp_path / "docs" / "man")
    assert check("man", MEMWHO, tmp_path) == (0, "")
    page = tmp_path / "docs" / "man" / "memwho-version.1"
    text = page.read_text()
    page.write_text(text.replace("json", "jsun"))
    code, out = check("man", MEMWHO, tmp_path)
    assert code == 1 and "does not document --json" in out and "documents --jsun" in out
    page.unlink()
    assert "memwho-version.1: no such page" in check("man", MEMWHO, tmp_path)[1]


CMOCKA = ("[==========] Running 3 test(s).\n[ RUN      ] a\n[       OK ] a\n[ RUN      ] b\n"
          "[  FAILED  ] b\n[ RUN      ] c\n[  SKIPPED ] c\n[==========] 3 test(s) run.\n")
JUNIT = ('<testsuites><testsuite><testcase name="p"/><testcase name="f"><failure message=""/>'
         '</testcase><testcase name="s"><skipped message="why"/></testcase></testsuite></testsuites>')


def count(build, tests, ci=""):
    (build / "meson-logs").mkdir(exist_ok=True)
    (build / "meson-logs" / "testlog.json").write_text("\n".join(map(json.dumps, tests)))
    p = subprocess.run([sys.executable, TOOLS / "count-tests.py", build], capture_output=True,
                       text=True, env={**os.environ, "CI": ci})
    return p.returncode, p.stdout.splitlines()


def entry(name, result="OK", stdout="", stderr=""):
    return {"name": "memwho:e2e / " + name, "result": result, "stdout": stdout, "stderr": stderr}


def test_cases_are_counted_and_not_programs(tmp_path):
    (tmp_path / "junit").mkdir()
    (tmp_path / "junit" / "py.xml").write_text(JUNIT)
    unit = entry("unit", "FAIL", CMOCKA, "[  PASSED  ] 1 test(s).\n[  FAILED  ] 1 test(s), listed below:\n")
    code, out = count(tmp_path, [unit, entry("py", "FAIL"), entry("plain")])
    assert code == 1 and out[-1] == "3 passed, 2 failed, 2 skipped"
    assert "skipped: s: why" in out
    assert count(tmp_path, [entry("plain"), entry("odd", "SKIP", "no tool\n")]) == (
        0, ["skipped: memwho:e2e / odd: no tool", "1 passed, 0 failed, 1 skipped"])


def test_a_unit_test_does_not_count_the_cases_of_its_namesake(tmp_path):
    (tmp_path / "junit").mkdir()
    (tmp_path / "junit" / "render.xml").write_text('<testsuite><testcase name="p"/></testsuite>')
    unit = {**entry("render", stdout="[==========] Running 2 test(s).\n[       OK ] a\n[       OK ] b\n"),
            "name": "memwho:unit+plain / render"}
    assert count(tmp_path, [unit, entry("render")]) == (0, ["3 passed, 0 failed"])


def test_a_crash_a_timeout_and_silence_are_failures(tmp_path):
    crashed = entry("unit", "FAIL", CMOCKA.split("[ RUN      ] b")[0])
    assert count(tmp_path, [crashed])[1][-1] == "1 passed, 1 failed"
    assert count(tmp_path, [entry("x", "TIMEOUT")])[1][-1] == "0 passed, 1 failed"
    assert count(tmp_path, []) == (1, ["no test ran", "0 passed, 1 failed"])


def test_ci_allows_no_skip(tmp_path):
    code, out = count(tmp_path, [entry("plain"), entry("odd", "SKIP", "no tool\n")], ci="true")
    assert code == 1 and out[-1] == "1 passed, 1 failed"


TWICE = """import os, pathlib, pytest
here = pathlib.Path(__file__).parent
@pytest.mark.parametrize("n", range({cases}))
def test_unsteady(n):
    seen = here / f"seen{{n}}"
    assert seen.exists() or seen.touch(), "the first time"
def test_good():
    pass
def test_bad():
    assert {bad}, "always"
"""


def twice(tmp_path, cases=1, bad="True", head="", name="unsteady"):
    """What is said of a pytest file that failed in a run that meson recorded"""
    tmp_path.mkdir()
    source = tmp_path / "test_py.py"
    source.write_text("# licence\n" + head + TWICE.format(cases=cases, bad=bad).replace("unsteady", name))
    junit = tmp_path / "junit" / "py.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml", str(junit), str(source)]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 1
    test = {**entry("py", "FAIL"), "command": command, "env": dict(os.environ)}
    (tmp_path / "meson-logs").mkdir()
    (tmp_path / "meson-logs" / "testlog.json").write_text(json.dumps(test))
    subprocess.run([sys.executable, TOOLS / "test-again.py", tmp_path], capture_output=True, check=True)
    return count(tmp_path, [test])


def test_what_failed_by_accident_runs_again_and_is_named(tmp_path):
    code, out = twice(tmp_path / "a")
    assert code == 0 and out[-1] == "3 passed, 0 failed"
    assert "unsteady, passed when run again: py: test_unsteady[0]: AssertionError: the first time" in out


def test_what_fails_twice_has_failed(tmp_path):
    code, out = twice(tmp_path / "a", bad="False")
    assert code == 1 and out[-1] == "2 passed, 1 failed"
    # nor is a run believed in which much failed, or a target may have died
    assert twice(tmp_path / "b", cases=6)[1] == ["2 passed, 6 failed"]
    assert twice(tmp_path / "c", head="# meson: timeout=60 once\n")[1] == ["2 passed, 1 failed"]
    assert twice(tmp_path / "d", name="killed_at_a_step")[1] == ["2 passed, 1 failed"]


def test_the_sum_is_over_what_ran(tmp_path):
    for name, counts in (("a", [3, 0, 0]), ("b", [2, 1, 0])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "counts.json").write_text(json.dumps(counts))
    p = subprocess.run([sys.executable, TOOLS / "count-tests.py", "--sum", "a", "b", "c"],
                       capture_output=True, text=True, cwd=tmp_path)
    assert p.returncode == 1 and p.stdout.splitlines()[-1] == "5 passed, 2 failed"


def test_every_test_file_is_a_test():
    """A new file is seen at the next configure only: this says so."""
    p = subprocess.run(["meson", "introspect", "--tests", BUILD], capture_output=True, text=True,
                       check=True)
    known = {t["name"] for t in json.loads(p.stdout) if "memwho:e2e" in t["suite"]}
    assert known == {p.stem[5:] for p in pathlib.Path(SOURCE, "tests/e2e").glob("test_*.py")}
