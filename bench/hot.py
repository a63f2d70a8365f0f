#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""ns that a malloc/free pair costs more while it is recorded, and ns a frame."""
import common
from common import Bpftrace, Heaptrack, Hot, Memleak, Memwho, figure, keep, span, table

WINDOW_MS = 200 if common.QUICK else 1000
DEPTHS = (5, 20, 50, 200)


def peers():
    yield Memwho("--no-stacks", name="memwho --no-stacks"), 5
    yield Memwho(), 5
    for r in common.usable([Memleak(), Memleak("-C", name="memleak (libbpf) -C"), Heaptrack(), Bpftrace()]):
        yield r, 5


def compare():
    rows, data = [], {}
    for recorder, depth in peers():
        with Hot() as hot:  # a process each: heaptrack stays mapped
            hot.spin_ns(depth, 200)
            singles = common.paired(lambda: hot.spin_ns(depth, WINDOW_MS), recorder, hot.pid)
        s = data[recorder.name] = common.summary(singles)
        rows.append([recorder.name, figure(s["off"]["median"]), span(s["on"]), span(s["added"]),
                     figure(s["ratio"]["median"]) + "x", figure(s["attach_s"]["median"], 2),
                     figure(s["detach_s"]["median"], 2), figure(s["after"])])
        recorder.close()
        print("#", recorder.name, figure(s["added"]["median"]), flush=True)
    table(["recorder", "ns/pair without", "with", "added", "ratio", "attach s", "detach s",
           "ns/pair after"], rows)
    return data


def frames():
    """All depths inside one attach, in turn; the slope is ns a frame."""
    data = {d: {"off": [], "on": [], "frames": 0} for d in DEPTHS}
    recorder = Memwho("--type", "alloc_space")  # also what has been freed again
    with Hot() as hot:
        for _ in range(common.PAIRS):
            for d in DEPTHS:
                data[d]["off"].append(hot.spin_ns(d, WINDOW_MS // 4))
            recorder.attach(hot.pid)
            for d in DEPTHS:
                data[d]["on"].append(hot.spin_ns(d, WINDOW_MS // 2))
            recorder.detach()
            for stack, _ in recorder.stacks():
                n = sum(f.startswith("deeper") for f in stack) - 1
                if n in data:
                    data[n]["frames"] = len(stack)
    rows = []
    for d in DEPTHS:
        s = data[d]["added"] = common.spread([b - a for a, b in zip(data[d]["off"], data[d]["on"])])
        rows.append([d, data[d]["frames"], figure(common.spread(data[d]["off"])["median"]), span(s)])
    table(["calls below main", "frames in the stack", "ns/pair without", "added"], rows)
    low, high = DEPTHS[0], DEPTHS[-1]
    slopes = [(b - a) / (high - low) for a, b in
              zip(data[low]["added"]["all"], data[high]["added"]["all"])]
    slope = common.spread(slopes)
    print(f"ns a frame, between {low} and {high} calls deep: {span(slope)}\n")
    recorder.close()
    return {**{str(k): v for k, v in data.items()}, "ns_per_frame": slope}


if __name__ == "__main__":
    keep("hot", {"peers": compare(), "frames": frames()})
