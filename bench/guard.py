#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The guard's estimate against an outside measure, over a range of rates: a
loop of pairs with more or less work between them, its rounds counted by its
own wall clock without and with memwho attached."""
import threading

import common
from common import Hot, Memwho, figure, keep, say, spread, table

SPINS = (100000, 30000, 10000, 4000, 1500, 500, 100)
MS = 500 if common.QUICK else 2000


class Paced:
    """The loop runs all the time: the guard counts while it does."""

    def __init__(self, hot, spins):
        self.hot, self.spins, self.rates, self.stop = hot, spins, [], False
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.stop:
            pairs, ns = self.hot.command(f"pace {self.spins} 100").split()
            self.rates.append(int(pairs) / int(ns) * 1e9)

    def rate(self):
        self.rates.clear()
        while len(self.rates) < MS // 100 + 2:
            self.thread.join(0.05)
        return spread(self.rates[2:])["median"]

    def end(self):
        self.stop = True
        self.thread.join()


def once(spins):
    with Hot() as hot:
        paced = Paced(hot, spins)
        free = paced.rate()
        m = Memwho(name="memwho")
        m.attach(hot.pid)
        traced = paced.rate()
        m.detach()
        again = paced.rate()
        paced.end()
    r = m.result
    m.close()
    free = (free + again) / 2
    return {"rate": free, "outside": free / traced, "counted": r["counted_slowdown"],
            "recording": r["estimated_slowdown"]}


def main():
    rows, data = [], {}
    for spins in SPINS:
        runs = [once(spins) for _ in range(common.PAIRS)]
        s = {k: spread([r[k] for r in runs]) for k in runs[0]}
        data[spins] = s
        rows.append([figure(s["rate"]["median"]), *(figure(s[k]["median"]) for k in
                                                   ("outside", "counted", "recording")),
                     *(figure(spread([r[k] / r["outside"] for r in runs])["median"])
                       for k in ("counted", "recording"))])
        say(f"# {spins}: {rows[-1]}")
    table(["pairs a second, untraced", "slower, measured outside", "estimate before",
           "estimate while recording", "before / outside", "recording / outside"], rows)
    keep("guard", data)


if __name__ == "__main__":
    main()
