#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Write memwho.json, the Grafana dashboard of what `memwho serve` exports.

usage: make-dashboard.py > memwho.json

Each panel is one line below; tests/e2e/test_serve_metrics.py asks Prometheus each query.
"""
import json

T = '{target=~"$target"}'
# row title, [(panel title, unit, [(query, legend)], width of 24, stacked)]
ROWS = [
    ("Who holds the memory", [
        ("Resident memory by owner", "bytes",
         [(f"sum by (kind) (memwho_process_resident_bytes{T})", "{{kind}}")], 12, True),
        ("Allocator: in use", "bytes",
         [(f"sum by (target, kind) (memwho_allocator_in_use_bytes{T})", "{{target}} {{kind}}")], 6, False),
        ("Resident, but not in use", "bytes",
         [(f"sum by (target, kind) (memwho_process_resident_bytes{T}) - on (target, kind) "
           f"sum by (target, kind) (memwho_allocator_in_use_bytes{T})", "{{target}} {{kind}}")], 6, False),
    ]),
    ("Growth", [
        ("Anonymous memory", "bytes", [(f"memwho_process_anon_bytes{T}", "{{target}}")], 8, False),
        ("Growth a second", "Bps", [(f"memwho_growth_bytes_per_second{T}", "{{target}}")], 8, False),
        ("Growth over 10 minutes", "bytes",
         [(f"delta(memwho_process_anon_bytes{T}[10m])", "{{target}}")], 8, False),
        ("Part of the limit", "percentunit",
         [(f"memwho_cgroup_used_bytes{T} / memwho_cgroup_limit_bytes{T}", "{{target}}")], 8, False),
        ("Time to the limit", "s", [(f"memwho_limit_eta_seconds{T}", "{{target}}")], 8, False),
        ("Swap by owner", "bytes",
         [(f"sum by (target, kind) (memwho_process_swap_bytes{T})", "{{target}} {{kind}}")], 8, False),
    ]),
    ("Captures", [
        ("Captures an hour", "short",
         [(f"sum by (target, trigger, outcome) (increase(memwho_captures_total{T}[1h]))",
           "{{target}} {{trigger}} {{outcome}}")], 8, False),
        ("Spool", "bytes", [("sum by (instance) (memwho_spool_bytes)", "{{instance}}")], 8, False),
        ("Not kept, or held off", "short",
         [("rate(memwho_spool_refused_total[$__rate_interval])", "refused"),
          ("rate(memwho_captures_held_off_total[$__rate_interval])", "held off")], 8, False),
        ("Waiting to be sent", "short",
         [("sum by (push) (memwho_push_queued)", "{{push}}")], 8, False),
        ("Sent, refused, retried a second", "short",
         [("sum by (push) (rate(memwho_push_sent_total[$__rate_interval]))", "{{push}} sent"),
          ("sum by (push) (rate(memwho_push_refused_total[$__rate_interval]))", "{{push}} refused"),
          ("sum by (push) (rate(memwho_push_retries_total[$__rate_interval]))", "{{push}} retried")],
         8, False),
    ]),
    ("What memwho costs", [
        ("CPU of memwho", "percentunit",
         [("rate(memwho_own_cpu_seconds_total[$__rate_interval])", "{{instance}}")], 6, False),
        ("Memory of memwho", "bytes", [("memwho_own_resident_bytes", "{{instance}}")], 6, False),
        ("CPU that recordings cost", "percentunit",
         [(f"rate(memwho_recording_cpu_seconds_total{T}[$__rate_interval])", "{{target}}")], 6, False),
        ("Lost events a second", "short",
         [(f"rate(memwho_lost_events_total{T}[$__rate_interval])", "{{target}}")], 6, False),
        ("Targets", "short",
         [("sum(memwho_target_up)", "up"), ("sum(memwho_targets_left_out)", "left out")], 6, False),
        ("Versions", "short", [("count by (version) (memwho_build_info)", "{{version}}")], 6, False),
    ]),
]
SOURCE = {"type": "prometheus", "uid": "${source}"}


def panel(number, place, title, unit, queries, width, stacked):
    custom = {"fillOpacity": 30, "stacking": {"mode": "normal"}} if stacked else {}
    return {
        "id": number, "type": "timeseries", "title": title, "datasource": SOURCE,
        "gridPos": {"x": place[0], "y": place[1], "w": width, "h": 8},
        "fieldConfig": {"defaults": {"unit": unit, "custom": custom}, "overrides": []},
        "targets": [{"refId": chr(65 + i), "datasource": SOURCE, "expr": query, "legendFormat": legend,
                     "exemplar": "captures" in query} for i, (query, legend) in enumerate(queries)],
    }


def panels():
    number, y = 1, 0
    for title, row in ROWS:
        yield {"id": number, "type": "row", "title": title, "collapsed": False, "panels": [],
               "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}}
        number, y, x = number + 1, y + 1, 0
        for name, unit, queries, width, stacked in row:
            if x + width > 24:
                x, y = 0, y + 8
            yield panel(number, (x, y), name, unit, queries, width, stacked)
            number, x = number + 1, x + width
        y += 8


def variables():
    return {"list": [
        {"name": "source", "label": "Source", "type": "datasource", "query": "prometheus"},
        {"name": "target", "label": "Target", "type": "query", "datasource": SOURCE, "multi": True,
         "includeAll": True, "refresh": 2, "query": "label_values(memwho_target_up, target)"},
    ]}


print(json.dumps({
    "title": "memwho: who holds the memory", "uid": "memwho", "schemaVersion": 38, "version": 1,
    "editable": True, "refresh": "30s", "time": {"from": "now-6h", "to": "now"}, "tags": ["memory"],
    "templating": variables(), "annotations": {"list": []}, "panels": list(panels()),
}, indent=1))
