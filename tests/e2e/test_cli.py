# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""The frame of the command line: exit codes, where text goes, mistakes."""
import os
import pathlib
import subprocess

import pytest

import conftest


def commands(memwho):
    return [c["name"] for c in memwho("--dump-options").json()["commands"] if not c["hidden"]]


def test_no_argument_is_usage(memwho):
    r = memwho(code=2)
    assert r.out == "" and "usage: memwho TARGET" in r.err


def test_help_is_help_everywhere(memwho):
    for form in (("--help",), ("-h",), ("help",)):
        r = memwho(*form)
        assert "usage: memwho TARGET" in r.out and r.err == ""
    for name in commands(memwho):
        assert memwho(name, "--help").out == memwho(name, "-h").out == memwho("help", name).out


def test_version(memwho):
    assert memwho("--version").out.startswith("memwho ")
    v = memwho("--version", "--json").json()
    assert v["version"] in memwho("--version").out
    assert v["kernel"] == os.uname().release
    assert set(v["kernel_features"]) >= {"btf", "bpf", "bpf_loop", "uprobes", "uprobe_session"}
    assert memwho("version", "--json").json() == v


def test_forced_fallbacks_show_in_the_features(memwho):
    v = memwho("--version", "--json", env={"MEMWHO_WITHOUT": "btf,bpf_loop"}).json()
    assert v["kernel_features"]["btf"] is False and v["kernel_features"]["bpf_loop"] is False
    r = memwho("--version", code=2, env={"MEMWHO_WITHOUT": "btff"})
    assert "btff" in r.err


@pytest.mark.parametrize("words, said", [
    (("vershion",), "did you mean memwho version?"),
    (("completion", "fish"), "bash or zsh"),
    (("completion",), "needs a SHELL"),
    (("version", "--jsom"), "did you mean --json?"),
    (("version", "--json=1"), "takes no value"),
    (("version", "-Z"), "no option -Z"),
    (("--frobnicate",), "the first word is a command"),
    (("help", "nothing"), "no command 'nothing'"),
])
def test_mistakes_are_told_on_stderr(memwho, words, said):
    r = memwho(*words, code=2)
    assert said in r.err and r.out == ""
    assert r.err.startswith("memwho: ") and r.err.count("\n") <= 2


def test_a_full_disk_behind_stdout_is_a_failure():
    with open("/dev/full", "w") as full:
        p = subprocess.run([conftest.MEMWHO, "--help"], stdout=full, stderr=subprocess.PIPE)
    assert p.returncode == 1 and b"No space left" in p.stderr


def bash_complete(script, *words):
    code = (f"source {script}; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; "
            '_memwho; printf "%s\\n" "${COMPREPLY[@]}"')
    return subprocess.run(["bash", "-c", code], check=True, capture_output=True,
                          text=True).stdout.split()


def test_bash_completion_knows_every_option(memwho, tmp_path):
    script = tmp_path / "memwho.bash"
    script.write_text(memwho("completion", "bash").out)
    assert bash_complete(script, "memwho", "vers") == ["version"]
    for c in memwho("--dump-options").json()["commands"]:
        offered = bash_complete(script, "memwho", c["name"], "--")
        assert set(offered) == {"--" + o["name"] for o in c["options"]}
    (tmp_path / "a-file").touch()
    for c in memwho("--dump-options").json()["commands"]:
        for o in c["options"]:
            if o["arg"] in ("FILE", "PATH"):
                assert bash_complete(script, "memwho", c["name"], "--" + o["name"],
                                     str(tmp_path / "a-")) == [str(tmp_path / "a-file")]


def test_zsh_completion_is_valid(memwho, tmp_path):
    text = memwho("completion", "zsh").out
    for c in memwho("--dump-options").json()["commands"]:
        for o in c["options"]:
            assert f"'*--{o['name']}" in text
    if not any(pathlib.Path(d, "zsh").exists() for d in os.environ["PATH"].split(":")):
        pytest.skip("zsh is not installed")
    subprocess.run(["zsh", "-n"], input=text, text=True, check=True)
