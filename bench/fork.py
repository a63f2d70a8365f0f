#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The speed of who is not traced: a forked child of a traced process, and the
target itself after the detach. 1.00 is its own speed."""
import time

import common
from common import Hot, Memwho, keep, span, spread, table

MS = 200 if common.QUICK else 1000


def once(data):
    m = Memwho(name="memwho")
    # Static: a libc of its own. While somebody else records another process of
    # the same libc file, Linux leaves all breakpoints there in forked children.
    with Hot("-static") as hot:
        before = hot.spin_ns(5, MS)
        m.attach(hot.pid)
        hot.command("fork")
        # the probes of a process that had not forked so far are exchanged now
        begin = time.monotonic()
        first = hot.spin_ns(5, 0, child=True)  # 1000 pairs
        while hot.spin_ns(5, 1, child=True) > 2 * before:
            pass
        data.setdefault("seconds", []).append(time.monotonic() - begin)
        hot.command("fork")  # a second child is as later ones are
        second = hot.spin_ns(5, 0, child=True)
        child = [hot.spin_ns(5, MS, child=True)]
        parent = hot.spin_ns(5, MS)
        child.append(hot.spin_ns(5, MS, child=True))
        m.detach()
        after = hot.spin_ns(5, MS)
        child_after = hot.spin_ns(5, MS, child=True)
        before = (before + hot.spin_ns(5, MS)) / 2
    m.close()
    for key, ns in {"parent, traced": parent, "first child, its first 1000 pairs": first,
                    "second child, its first 1000 pairs": second,
                    "child, parent traced": child[0], "child, later": child[1],
                    "parent after the detach": after, "child after the detach": child_after}.items():
        data.setdefault(key, []).append({"ns": ns, "ratio": ns / before})


def main():
    data = {}
    for _ in range(common.PAIRS):
        once(data)
    print(f"the first child is at its own speed after {span(spread(data.pop('seconds')))} s\n")
    table(["who", "ns/pair", "ratio to the parent's own speed"],
          [[k, span(spread([x["ns"] for x in v])), span(spread([x["ratio"] for x in v]))]
           for k, v in data.items()])
    keep("fork", data)


if __name__ == "__main__":
    main()
