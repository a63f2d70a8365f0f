# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""What /metrics says, as Prometheus and VictoriaMetrics understand it; the page of made-up
targets of tests/programs/serve_metrics.c, of which all figures are known."""
import json
import subprocess
import sys
import time
import urllib.parse

import pytest

import engines
from conftest import PROGRAMS, SOURCE

DASHBOARDS = SOURCE / "packaging" / "grafana"
RULES = SOURCE / "packaging" / "prometheus" / "memwho.rules.yml"
CAPTURE = "20261126T110000Z-3-growth"
COMM = 'a\\b"c\nd\N{REPLACEMENT CHARACTER}'


@pytest.fixture(scope="module")
def page():
    port = engines.free_port()
    p = subprocess.Popen([PROGRAMS / "serve_metrics", str(port)], stdout=subprocess.PIPE)
    assert p.stdout.readline() == b"ready\n"
    yield port
    p.kill()
    p.wait()
    p.stdout.close()


@pytest.fixture(scope="module")
def prometheus(page, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prometheus")
    rules = folder / "rules.yml"
    rules.write_text(RULES.read_text().replace("for: 1m", "for: 2s"))  # no minute in a test
    with engines.prometheus(folder, page, rules) as url:
        engines.until(lambda: engines.query(url, "memwho_target_up"))
        yield url


def write(form):
    return subprocess.run([PROGRAMS / "serve_metrics", form], stdout=subprocess.PIPE, check=True).stdout


def test_promtool_finds_nothing(page):
    promtool = engines.fetch("prometheus", "promtool")
    p = subprocess.run([promtool, "check", "metrics"], input=write("text"), capture_output=True)
    assert (p.returncode, p.stdout, p.stderr) == (0, b"", b"")
    p = subprocess.run([promtool, "check", "rules", RULES], capture_output=True, text=True)
    assert p.returncode == 0, p.stdout + p.stderr


def test_the_two_formats_differ_where_they_must():
    text, openmetrics = write("text").decode(), write("openmetrics").decode()
    assert "# TYPE memwho_captures_total counter\n" in text and "# EOF" not in text
    assert "# TYPE memwho_captures counter\n" in openmetrics and openmetrics.endswith("\n# EOF\n")
    assert "capture_id" not in text
    assert openmetrics.count(f'# {{capture_id="{CAPTURE}"}} 1 1795690800.000') == 1
    # nothing that is not known is a sample: "gone" is down, and that is all
    assert [line for line in text.splitlines() if 'target="gone"' in line] == [
        'memwho_target_up{target="gone"} 0']


def test_prometheus_reads_it(prometheus):
    up = dict((m["target"], v) for m, v in engines.query(prometheus, "memwho_target_up"))
    assert up == {"api": 1, "gone": 0}
    rows = {m["kind"]: (m["comm"], v)
            for m, v in engines.query(prometheus, "memwho_process_resident_bytes")}
    assert rows == {"glibc-arena": (COMM, 200 << 20), "thread-stack": (COMM, 1 << 20),
                    "unnamed": (COMM, 0)}
    assert engines.query(prometheus, "memwho_captures_total{outcome='ok'}")[0][1] == 3


def test_prometheus_has_the_exemplar(prometheus):
    now = time.time()
    # it is of the time when the capture was made
    ask = urllib.parse.urlencode({"query": "memwho_captures_total", "start": 1795690000, "end": now + 60 + 1795690800})
    found = engines.until(lambda: json.loads(
        engines.get(f"{prometheus}/api/v1/query_exemplars?{ask}"))["data"])
    assert [e["labels"] for series in found for e in series["exemplars"]] == [{"capture_id": CAPTURE}]


def test_the_alert_on_time_to_the_limit_fires(prometheus):
    def firing():
        alerts = json.loads(engines.get(f"{prometheus}/api/v1/alerts"))["data"]["alerts"]
        return {a["labels"]["alertname"]: a for a in alerts if a["state"] == "firing"}.get("MemoryLimitSoon")
    alert = engines.until(firing)
    assert alert["labels"]["target"] == "api"
    assert "reaches its memory limit in 16m" in alert["annotations"]["summary"]


def test_growth_is_what_it_is(prometheus):
    def slope():
        found = engines.query(prometheus, "deriv(memwho_process_anon_bytes{target='api'}[30s])")
        samples = engines.query(prometheus, "count_over_time(memwho_process_anon_bytes{target='api'}[30s])")
        return found if samples and samples[0][1] >= 8 else None
    assert engines.until(slope, 30)[0][1] == pytest.approx(100000, rel=0.02)


def test_every_query_of_the_dashboard_gives_data(prometheus):
    made = subprocess.run([sys.executable, DASHBOARDS / "make-dashboard.py"], stdout=subprocess.PIPE,
                          check=True).stdout
    assert made == (DASHBOARDS / "memwho.json").read_bytes(), "run packaging/grafana/make-dashboard.py"
    queries = [t["expr"] for p in json.loads(made)["panels"] for t in p.get("targets", [])]
    assert len(queries) > 20
    for expr in queries:
        asked = expr.replace("$target", ".*").replace("$__rate_interval", "10s")
        assert engines.until(lambda: engines.query(prometheus, asked)), expr  # pylint: disable=W0640


def test_victoria_metrics_reads_it(page, tmp_path):
    with engines.victoria_metrics(tmp_path, page) as url:
        rows = engines.until(lambda: engines.query(url, "memwho_process_resident_bytes"), 30)
        assert {m["kind"]: v for m, v in rows} == {
            "glibc-arena": 200 << 20, "thread-stack": 1 << 20, "unnamed": 0}
        assert rows[0][0]["comm"] == COMM
