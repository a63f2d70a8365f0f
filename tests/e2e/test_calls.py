# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel once
"""Allocators' functions called in running processes of ten kinds, again and again: all of them
work on, none of their own checks fails. And memwho killed before the steps of such a call.
`./dev matrix calls` makes 100,000 calls, kills before every step, and prints how long threads
stood still."""
import os
import random
import signal
import time

import pytest
from hold import library
from victim import injector, victim

KINDS = {
    "idle": ("rr", "victim"),
    "allocating": ("aaaaaaaa", "victim"),
    "forking": ("FFFA", "victim-busy"),
    "signals": ("AAAcck", "victim-busy"),  # k last: it sends to all that have started
    "sleeping": ("nnN", "victim"),
    "waiting": ("eeffr", "victim"),
    "mixed": ("cacnefrs", "victim"),
    "loading": ("dddA", "victim-busy"),
    "threads": ("ttta", "victim"),
    "printing": ("ssssa", "victim"),
}
# Each function takes locks of its allocator, and the last one of glibc's all of them.
ALLOCATORS = {
    "glibc": (None, [("malloc_trim", 0), ("mallinfo2", "w:0")]),
    "jemalloc": ("libjemalloc.so.2", [("mallctl", "s:arena.4096.purge", 0, 0, 0, 0),
                                      ("mallctl", "s:epoch", 0, 0, "w:1", 8),
                                      ("mallctl", "s:thread.tcache.flush", 0, 0, 0, 0)]),
    "tcmalloc": ("libtcmalloc_minimal.so.4", [("MallocExtension_ReleaseFreeMemory",)]),
    "mimalloc": ("libmimalloc.so.2", [("mi_collect", 1)]),
}
ALLOCATORS = {k: v for k, v in ALLOCATORS.items() if k in os.environ.get("CALLS_ON", k).split()}
CALLS = int(os.environ.get("CALLS", "0"))
# In one run: few calls, and of the kills one here and there.
EACH = CALLS // (len(KINDS) * len(ALLOCATORS)) if CALLS else 40
EVERY = int(os.environ.get("CALLS_EVERY", "12"))
# A thread in the middle of a fork, or of a load, is no safe point; where all are, there is none.
NONE = 20


def started(victim, kind, allocator):
    modes, program = KINDS[kind]
    preload, calls = ALLOCATORS[allocator]
    if preload and not library(preload):
        pytest.skip(f"no {preload}")
    return victim(modes, program=program, preload=preload), calls


@pytest.mark.parametrize("allocator", ALLOCATORS)
@pytest.mark.parametrize("kind", KINDS)
def test_calls(victim, kind, allocator):
    v, calls = started(victim, kind, allocator)
    v.check()
    for call in calls:
        n = max(EACH // len(calls), 1)
        grouped = ("-g",) if random.random() < 1 / 3 else ()  # three calls in one transaction
        code, said, err = injector(v.pid, "call", *call, options=("-n", n, "-e", NONE, *grouped), timeout=60 + n)
        print(f"{allocator} {kind} {call[0]}: {n} calls{' of three' if grouped else ''}, stop us p50 {said.get('stop_p50_us')} p99 "
              f"{said.get('stop_p99_us')} max {said.get('stop_max_us')}, call us p50 {said.get('call_p50_us')} "
              f"p99 {said.get('call_p99_us')}, stops {said.get('stops')} refused {said.get('refused')} "
              f"none {said.get('none')} limbo {said.get('limbo')}")
        assert code == 0 and said["done"] == str(n), (code, said, err)
        v.check()
    # no memwho is killed here: nobody's call returned early
    assert v.eintr == 0 and not v.tracers()


def call_again(v, call, seconds=30):
    """The next memwho's call. It refuses while one that a killed memwho began is under way, which
    on a busy machine takes its time."""
    deadline = time.monotonic() + seconds
    while True:
        code, said, err = injector(v.pid, "call", *call, options=("-e", NONE))
        if code == 0 or "still under way" not in err or time.monotonic() > deadline:
            return code, said, err


@pytest.mark.parametrize("kind", KINDS)
def test_killed_before_steps_of_a_call(victim, kind):
    """The victim goes on, the next memwho gets its call through, and takes away what was left.
    Once where the area is made, once where it is there."""
    for allocator in ALLOCATORS if EVERY == 1 else [random.choice(list(ALLOCATORS))]:
        v, calls = started(victim, kind, allocator)
        call, killed, grouped = random.choice(calls), 0, random.choice([(), ("-g",)])
        for cleans in (True, False):
            step = random.randrange(EVERY)
            while True:
                code, said, err = injector(v.pid, "call", *call, options=("-k", step, "-e", NONE, *grouped))
                if code != -signal.SIGKILL:
                    assert code == 0, (step, code, said, err)
                    break
                killed += 1
                wrong = v.goes_on(30)
                assert not wrong, (allocator, call, step, wrong)
                code, said, err = call_again(v, call)
                assert code == 0, (allocator, call, step, code, said, err)
                if cleans:
                    code, said, err = injector(v.pid, "clean")
                    assert code == 0 and said["cleaned"] == "1", (code, said, err)
                v.check()
                assert not v.tracers()
                step += EVERY
        print(f"{allocator} {kind} {call[0]}: {killed} kills, {v.eintr} interrupted calls")
        # as in test_inject.py: 49 steps or more, less what the walks' ends leave out
        assert killed * EVERY >= (40 if EVERY == 1 else 24), killed
        assert v.eintr <= killed
