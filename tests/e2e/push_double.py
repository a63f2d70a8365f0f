#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A double of Pyroscope's and Parca's APIs for pushes, as strict as their JSON decoders: a field
that they do not have is a 400. `./dev matrix push` has one made of Pyroscope's own code instead
(tests/programs/pyroscope-double), with the same options.

usage: push_double.py ADDRESS STORE [--tenant T] [--basic USER:PASSWORD] [--bearer TOKEN]
       [--cert FILE --key FILE] [--fail N:STATUS] [--die-after N]

A line of JSON goes to STORE for each profile, before it is answered. --fail: the first N requests
get STATUS. --die-after: after storing N, without an answer.
"""
import argparse
import base64
import http.server
import json
import os
import ssl
import tempfile

import gopprof


class Refused(Exception):
    pass


def only(message, *names):
    if not isinstance(message, dict) or set(message) - set(names):
        raise Refused(f"unknown field in {sorted(message)}")
    return [message.get(n) for n in names]


def labels_of(pairs):
    found = {}
    for pair in pairs or []:
        name, value = only(pair, "name", "value")
        found[name] = value
    for wanted in ("__name__", "service_name"):
        if not found.get(wanted):
            raise Refused(f"{wanted} is required")
    return found


def profile(raw):
    with tempfile.NamedTemporaryFile() as f:
        f.write(base64.b64decode(raw, validate=True))
        f.flush()
        return gopprof.totals(f.name)


def pyroscope(body):
    for series in only(body, "series")[0]:
        labels, samples = only(series, "labels", "samples")
        for sample in samples:
            number, raw = only(sample, "ID", "rawProfile")
            yield {"id": number, "labels": labels_of(labels), "totals": profile(raw)}


def parca(body):
    series, _, _ = only(body, "series", "tenant", "normalized")
    for one in series:
        labels, samples = only(one, "labels", "samples")
        for sample in samples:
            yield {"id": None, "labels": labels_of(only(labels, "labels")[0]),
                   "totals": profile(only(sample, "rawProfile")[0])}


PATHS = {"/push.v1.PusherService/Push": pyroscope, "/api/profiles/writeraw": parca}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body=b"{}"):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def is_allowed(self):
        o, given = self.server.options, self.headers.get("Authorization")
        if o.basic and given != "Basic " + base64.b64encode(o.basic.encode()).decode():
            return False
        return not o.bearer or given == f"Bearer {o.bearer}"

    def do_POST(self):
        o = self.server.options
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.is_allowed():
            return self.answer(401)
        if o.fail[0] > 0:
            o.fail[0] -= 1
            return self.answer(o.fail[1])
        try:
            if self.headers.get("X-Scope-OrgID") != o.tenant:
                raise Refused("tenant")
            found = list(PATHS[self.path](json.loads(raw)))
        except (Refused, ValueError, KeyError, TypeError) as e:
            return self.answer(400, json.dumps({"code": "invalid_argument", "message": str(e)}).encode())
        for one in found:
            os.write(o.store, json.dumps({**one, "tenant": self.headers.get("X-Scope-OrgID")}).encode() + b"\n")
            o.stored += 1
        if o.die_after and o.stored >= o.die_after:
            os._exit(1)
        return self.answer(200)

    def log_message(self, *args):
        pass


def main():
    p = argparse.ArgumentParser()
    p.add_argument("address")
    p.add_argument("store")
    for name in ("tenant", "basic", "bearer", "cert", "key"):
        p.add_argument("--" + name)
    p.add_argument("--fail", default="0:0", type=lambda s: [int(x) for x in s.split(":")])
    p.add_argument("--die-after", type=int, default=0)
    o = p.parse_args()
    host, port = o.address.split(":")
    o.store, o.stored = os.open(o.store, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 0
    server = http.server.ThreadingHTTPServer((host, int(port)), Handler)
    server.options = o
    if o.cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(o.cert, o.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


main()
