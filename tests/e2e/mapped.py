# SPDX-License-Identifier: GPL-2.0-or-later
"""What memwho map says of a process against /proc/PID/maps and against what the
program itself has written down."""
import bisect
import pathlib
import re


def merged(ranges):
    out = []
    for start, end in sorted(ranges):
        if out and out[-1][1] >= start:
            out[-1][1] = max(out[-1][1], end)
        else:
            out.append([start, end])
    return out


def of_maps(pid, path=None):
    """Ranges of /proc/PID/maps (or of a copy of it) but [vsyscall]."""
    found = []
    for line in pathlib.Path(path or f"/proc/{pid}/maps").read_text().splitlines():
        m = re.match(r"(\w+)-(\w+) ", line)
        if not line.endswith("[vsyscall]"):
            found.append((int(m[1], 16), int(m[2], 16)))
    return found


class Ranges:
    """ranges[] of one process."""

    def __init__(self, result, pid):
        self.all = sorted(((int(r["start"], 16), int(r["end"], 16), r) for r in result["ranges"]
                           if r["pid"] == pid), key=lambda r: r[0])
        self.starts = [r[0] for r in self.all]

    def apart(self):
        """Does each byte have one owner only?"""
        return all(a[1] <= b[0] for a, b in zip(self.all, self.all[1:]))

    def spans(self):
        return merged((r[0], r[1]) for r in self.all)

    def over(self, start, end):
        """(start, end, range) of the pieces of [start, end); None where nothing is."""
        i = max(bisect.bisect_right(self.starts, start) - 1, 0)
        while start < end:
            while i < len(self.all) and self.all[i][1] <= start:
                i += 1
            if i == len(self.all) or self.all[i][0] >= end:
                yield start, end, None
                return
            first, last, r = self.all[i]
            if first > start:
                yield start, first, None
                start = first
            yield start, min(last, end), r
            start = last


def differences(ours, theirs):
    """Bytes in one list of spans and not in the other: (missing, extra)."""
    def less(a, b):
        total, edges = 0, sorted({x for span in a + b for x in span})
        starts_a, starts_b = [x[0] for x in a], [x[0] for x in b]

        def inside(spans, starts, at):
            i = bisect.bisect_right(starts, at) - 1
            return i >= 0 and at < spans[i][1]
        for low, high in zip(edges, edges[1:]):
            if inside(a, starts_a, low) and not inside(b, starts_b, low):
                total += high - low
        return total
    return less(theirs, ours), less(ours, theirs)


class Owners:
    """Pages of the record, by what memwho says of them."""

    def __init__(self, ranges, record):
        self.right = self.uncertain = self.wrong = 0
        self.examples = []
        for line in pathlib.Path(record).read_text().splitlines():
            start, end, site, tid = line.split()
            for low, high, r in ranges.over(int(start, 16), int(end, 16)):
                good = r and site in r["frames"] and r["tid"] == int(tid)
                if good:
                    self.right += high - low
                elif r and r["uncertain"]:
                    self.uncertain += high - low
                else:
                    self.wrong += high - low
                    self.examples.append((hex(low), hex(high), site, tid, r))

    def __repr__(self):
        return (f"{self.right} bytes right, {self.uncertain} uncertain, {self.wrong} wrong: "
                f"{self.examples[:5]}")
