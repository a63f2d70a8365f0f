# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""`memwho serve --check`: what is wrong with a configuration is told with its line. What SIGHUP
changes."""
import os
import re
import signal

import conftest
from conftest import run_memwho
from serving import Serve, until
from test_serve_push import Server


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
    r = check(tmp_path, '[serve]\nslots = many\n', code=2)
    assert "memwho.conf:2: slots = many: not a whole number" in r.err and "docs/serve.md has all keys" in r.err


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


def test_sighup(tmp_path):
    """Another spool, more pushes, one that goes elsewhere: at once (the socket: test_serve_front.py)."""
    servers = [Server(tmp_path / str(i)) for i in range(2)]
    rule = ['[target "api"]', f"pid = {os.getpid()}", '[trigger "g"]', "rule = growth 1G in 10m", "capture = ladder",
            "warmup = 0"]

    def captures(s):
        return s.get("/captures", status=200).json()["captures"]

    def reload(s, *lines):
        s.write(*lines)
        n = sum("configuration read again" in x for x in s.lines)
        s.process.send_signal(signal.SIGHUP)
        until(lambda: sum("configuration read again" in x for x in s.lines) > n)

    def push(server):
        return ['[push "p"]', "kind = pyroscope", f"url = http://127.0.0.1:{server.port}"]

    for server in servers:
        server.store.parent.mkdir()
        server.start()
    try:
        with Serve(tmp_path, f"spool = {tmp_path}/a", *rule) as s:
            until(lambda: len(captures(s)) == 1)
            reload(s, f"spool = {tmp_path}/b", *rule, *push(servers[0]))
            until(lambda: len(captures(s)) == 1 and servers[0].seen())
            assert len(list((tmp_path / "a").glob("api/*"))) == len(list((tmp_path / "b").glob("api/*"))) == 1
            labels = servers[0].seen()[0]["labels"]
            assert (labels["__name__"], labels["trigger"]) == ("memwho_ladder", "baseline")
            # the same again: the push goes on as it is; then to another server
            reload(s, f"spool = {tmp_path}/b", *rule, *push(servers[0]))
            until(lambda: len(servers[0].seen()) == 2)
            reload(s, f"spool = {tmp_path}/b", *rule, *push(servers[1]))
            until(lambda: servers[1].seen())
            assert len(servers[0].seen()) == 2 and len(captures(s)) == 3
            reload(s, f"spool = {tmp_path}/b", *rule)
            assert "memwho_push_sent_total" not in s.get("/metrics").text
            # a spool that cannot be: nothing changes
            s.write(f"spool = {tmp_path}/no/such", *rule)
            s.process.send_signal(signal.SIGHUP)
            s.wait_line("the configuration stays as it was: cannot make the spool")
            assert len(captures(s)) >= 3
    finally:
        for server in servers:
            server.stop()
