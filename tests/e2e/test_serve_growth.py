# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=120
"""memwho serve: captures by growth, the spool, metrics; the page in a browser."""
import os
import re
import shutil
import subprocess
import sys
import time

import conftest
import pytest

import gopprof
from hold import Hold
from serving import Serve, until
from test_pictures import flame_box

GROWER = """
import sys
kept = []
for line in sys.stdin:
    word, n = line.split()
    if word == "grow":
        kept.append(bytearray(int(n) << 20))
    else:  # churn: the same again and again
        for _ in range(int(n)):
            x = bytearray(8 << 20)
    print("ok", flush=True)
"""


class Grower:
    def __init__(self):
        self.process = subprocess.Popen([sys.executable, "-c", GROWER], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)
        self.pid = self.process.pid

    def do(self, word, n):
        self.process.stdin.write(f"{word} {n}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "ok\n"


@pytest.fixture
def grower():
    g = Grower()
    yield g
    conftest.end(g.process)


def captures(s, trigger=None):
    found = s.get("/captures", status=200).json()["captures"]
    return [c for c in found if trigger in (None, c["trigger"])]


def test_growth_makes_a_capture_and_flat_memory_none(tmp_path, grower):
    spool = tmp_path / "spool"
    with Serve(tmp_path, f"spool = {spool}", '[target "api"]', f"pid = {grower.pid}", '[trigger "grows"]',
               "rule = growth 64M in 10m", "capture = ladder", "warmup = 1s", "cooldown = 0") as s:
        until(lambda: captures(s, "baseline"))
        for _ in range(8):
            grower.do("churn", 50)
            time.sleep(0.2)
        assert len(captures(s)) == 1
        grower.do("grow", 80)
        until(lambda: captures(s, "growth"))
        time.sleep(2)
        baseline, = captures(s, "baseline")
        growth, = captures(s, "growth")
        assert growth["baseline"] == baseline["id"] and growth["target"] == "api" and growth["pid"] == grower.pid
        assert "MiB" in growth["reason"]
        assert os.stat(spool).st_mode & 0o7777 == 0o700
        kept = tmp_path / "kept.pb.gz"
        kept.write_bytes(s.get(f"/captures/{growth['id']}", status=200).body)
        types, samples = gopprof.read(kept)
        at = types.index("resident_bytes")
        assert sum(x.values[at] for x in samples) > 80 << 20
        page = s.get(f"/captures/{growth['id']}?format=html", status=200)
        assert page.headers["Content-Type"].startswith("text/html") and "<html" in page.text
        diff = s.get(f"/captures/{growth['id']}/diff?before={baseline['id']}&format=folded", status=200).text
        assert max(int(x.rpartition(" ")[2]) for x in diff.splitlines()) >= 79 << 20
        assert s.get(f"/diff?before={baseline['id']}&after={growth['id']}&format=folded", status=200).text == diff
        assert s.get("/targets/api/captures").json()["captures"] == captures(s)
        assert s.get("/captures/20200101T000000Z-1-growth").status == 404
        metrics = s.get("/metrics").text
        assert 'memwho_captures_total{target="api",trigger="growth",outcome="ok"} 1\n' in metrics
        newer = s.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
        assert newer.headers["Content-Type"].startswith("application/openmetrics-text")
        assert f'# {{capture_id="{growth["id"]}"}} 1' in newer.text and newer.text.endswith("# EOF\n")
        assert s.stop() == 0
    # kept over a restart
    with s:
        assert [c["id"] for c in captures(s)] == [growth["id"], baseline["id"]]


def test_metrics_are_right(tmp_path, grower):
    """Each row of the ladder; and promtool finds nothing to say."""
    grower.do("grow", 64)
    with Serve(tmp_path, '[target "api"]', f"pid = {grower.pid}") as s:
        until(lambda: "memwho_process_resident_bytes{" in s.get("/metrics").text)
        text = s.get("/metrics").text
        rows = re.findall(r'^memwho_process_resident_bytes\{target="api",comm="[^"]*",kind="([^"]+)"\} (\d+)', text, re.M)
        ladder = s.get("/targets/api/ladder").json()
        total = sum(int(v) for _, v in rows)
        assert abs(total - ladder["resident_bytes"]) < 2 << 20 and total > 64 << 20
        if shutil.which("promtool"):
            p = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT)
            assert p.returncode == 0 and not p.stdout.strip(), p.stdout
        sd = s.get("/sd", status=200).json()
        assert sd[0]["targets"] == [f"{s.host}:{s.port}"] and sd[0]["labels"]["memwho_target"] == "api"


def test_bad_rules_are_told(tmp_path):
    conf = tmp_path / "m.conf"
    for rule, why in (("growth 256X in 10m", "256X"), ("grows 5M", "grows")):
        conf.write_text(f'[serve]\nspool = /tmp/x\n[target "a"]\npid = 1\n[trigger "g"]\nrule = {rule}\n')
        r = conftest.run_memwho("serve", "--check", conf, code=2)
        assert f'{conf}:5: trigger "g"' in r.err and why in r.err


def zoom(browser):
    """A click on a frame of the picture makes it as wide as the whole; reset makes it what it was."""
    name, width, full = browser.js("""
        const v = window.memwho.flame, full = Math.max(...v.boxes.flat().filter(Boolean).map(b => b.w));
        const b = v.boxes.flat().find(b => b && b.w > 30 && b.w < 0.9 * full);
        return [b.node.name, b.w, full];""")
    box = flame_box(browser, "flame", name)
    browser.click_at(box["x"], box["y"])
    assert flame_box(browser, "flame", name)["w"] == pytest.approx(full, abs=0.5)
    browser.click("#reset")
    assert flame_box(browser, "flame", name)["w"] == pytest.approx(width, abs=0.5)


def test_the_page(tmp_path, browser):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    with Hold(conftest.PROGRAMS / "hold") as hold, \
            Serve(tmp_path, f"spool = {tmp_path}/spool", '[target "api"]', f"pid = {hold.pid}", '[target "gone"]',
                  "exe = /no/such/program", '[trigger "g"]', "rule = growth 1M in 10m", "capture = ladder", "warmup = 0",
                  "cooldown = 0") as s:
        until(lambda: captures(s, "baseline"))
        hold.command("many 20000")
        until(lambda: captures(s, "growth"))
        text = s.get("/", status=200).text  # what is there without JavaScript
        assert f"hold {hold.pid}" in text and "/targets/api/flamegraph?kind=heap" in text and "<path d=\"M" in text
        assert "no process runs /no/such/program" in text and "baseline" in text
        # who owns it: as large as what the ladder itself says
        until(lambda: "<svg class=ladder" in s.get("/").text)
        arena = re.search(r"<li class=k0>glibc-arena ([0-9.]+) MiB", s.get("/").text)
        ladder = s.get("/targets/api/ladder").json()["parts"]
        assert arena and float(arena[1]) == pytest.approx(
            sum(p["resident_bytes"] for p in ladder if p["kind"] == "glibc-arena") / 2 ** 20, rel=0.2), text
        browser.open(f"http://{s.host}:{s.port}/")
        browser.wait("return document.querySelectorAll('#captures tbody tr').length >= 2")
        assert browser.js("return document.querySelector('#t-api .chart path').getAttribute('d')")
        # it goes on by itself
        browser.js("document.querySelector('#targets').id = 'targets'; document.querySelector('#t-api').title = 'old'")
        browser.wait("return document.querySelector('#t-api').title !== 'old'", seconds=12)
        # two captures compared
        browser.click("#captures tbody tr:last-child input[name=before]")
        browser.click("#captures tbody tr:first-child input[name=after]")
        browser.click("#diff button")
        browser.wait("return location.pathname === '/diff' && document.readyState === 'complete'")
        zoom(browser)
        conftest.leave_page(browser, "serve-diff")
        # a capture that is refused is told; then one is made and zoomed
        browser.open(f"http://{s.host}:{s.port}/")
        conftest.leave_page(browser, "serve-page")
        busy = s.later("/targets/api/debug/pprof/heap?seconds=3", status=200)
        until(lambda: s.get("/targets/api").json()["running"])
        browser.click("a[href*='kind=map']")
        browser.wait("return document.getElementById('said').textContent.includes('another capture of this target')")
        busy.result()
        browser.click("#t-api a[href*='kind=ladder']")
        browser.wait("return location.protocol === 'blob:' && document.readyState === 'complete'", seconds=20)
        browser.wait("return document.title.length > 0 && document.querySelector('canvas, svg') !== null")
        # the refusal (409) was noted by the browser itself, as the network's; nothing else
        assert [p for p in browser.problems() if "409" not in str(p)] == []
