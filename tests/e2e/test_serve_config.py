# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=60 parallel
"""`memwho serve --check`: what is wrong with a configuration is told with its line."""
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
