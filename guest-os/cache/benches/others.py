#!/usr/bin/env python3
"""How fast libCacheSim is with the requests of eviction.rs.

    pip install libcachesim==0.3.5
    python3 others.py make FILE
    python3 others.py run FILE [POLICY...]

The requests go through its own loop, from a file that is in memory by then: no
Python runs while the clock does. Each policy has three goes, the best counts.
"""

import bisect
import itertools
import os
import sys
import time

import libcachesim

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "tests"))
from golden import POLICIES, Rng, write_trace

REQUESTS = 4_000_000
BLOCKS = 1 << 20
CAPACITY = 1 << 17


def requests():
    rng = Rng(1)
    sums = list(itertools.accumulate(2**32 // rank for rank in range(1, BLOCKS + 1)))
    ranks = (bisect.bisect_right(sums, sums[-1] * rng.next() >> 32) for _ in range(REQUESTS))
    return [(rank + 1) * 2654435761 % 2**32 for rank in ranks]


def once(policy, path):
    """Seconds and misses of one go."""
    reader = libcachesim.TraceReader(path, libcachesim.TraceType.ORACLE_GENERAL_TRACE)
    cache = policy(CAPACITY, hashpower=18)
    started = time.perf_counter()
    ratio, _ = cache.process_trace(reader)
    return time.perf_counter() - started, round(ratio * REQUESTS)


def main():
    action, path, *names = sys.argv[1:]
    if action == "make":
        write_trace(requests(), path)
        return
    for name in names or POLICIES:
        seconds, misses = min(once(POLICIES[name], path) for _ in range(3))
        rate = REQUESTS / seconds / 1e6
        print(f"{name}: {rate:.2f} M requests/s, {misses} misses", flush=True)


if __name__ == "__main__":
    main()
