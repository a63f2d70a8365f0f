# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""`memwho serve --check`: what is wrong with a configuration is told with its line."""
import re

import conftest
from conftest import run_memwho


def check(tmp_path, text, code=0):
    conf = tmp_path / "memwho.conf"
    conf.write_text(text)
    return run_memwho("serve", "--check", conf, code=code)


def test_a_right_one(tmp_path):
    r = check(tmp_path, '[serve]\nlisten = 127.0.0.1:0\n[target "api"]\npid = 1\n')
    assert "1 targets, 0 triggers, 0 pushes; listens on 127.0.0.1:0" in r.err


def test_a_wrong_one(tmp_path):
    r = check(tmp_path, '[serve]\n[target "api"]\npdi = 1\n', code=2)
    assert f"{tmp_path}/memwho.conf:3: [target] has no key 'pdi'" in r.err
    assert "did you mean pid?" in r.err


def test_none(tmp_path):
    r = run_memwho("serve", "--check", tmp_path / "nowhere", code=1)
    assert "nowhere" in r.err and "No such file" in r.err


def test_docs_have_every_key():
    """docs/serve.md's tables against the only list."""
    source = (conftest.SOURCE / "src" / "serve" / "config_keys.c").read_text()
    docs = (conftest.SOURCE / "docs" / "serve.md").read_text()
    keys = {"serve": set(re.findall(r"^\tSERVE\((\w+)", source, re.M)) | set(re.findall(r'CONFIG_SERVE, "(\w+)"', source)),
            "target": set(re.findall(r'^\tTARGET\("(\w+)"', source, re.M)),
            "trigger": set(re.findall(r'^\tTRIGGER\("(\w+)"', source, re.M)),
            "push": set(re.findall(r"^\tPUSH\((\w+)", source, re.M))}
    for section, known in keys.items():
        table = re.search(rf'^\| `\[{section}[^\n]*\n(.*?)\n\n', docs, re.M | re.S)[1]
        cells = [line.split("|")[1] for line in table.splitlines()[1:]]
        assert {k for c in cells for k in re.findall(r"`(\w+)`", c)} == known, section
