"""Runs libCacheSim for `harness bench cache`: python3 libcachesim.py TRACE CAPACITY.

Prints its version, and then, for each policy named on standard input, the seconds of its
own loop and the miss ratio. The trace is mapped into memory; no Python code runs in the
timed loop.
"""

import sys
import time

import libcachesim

POLICIES = {
    "fifo": libcachesim.FIFO,
    "clock": libcachesim.Clock,
    "lru": libcachesim.LRU,
    "sieve": libcachesim.Sieve,
    "s3-fifo": libcachesim.S3FIFO,
    "lfu": libcachesim.LFU,
    "2q": libcachesim.TwoQ,
    "arc": libcachesim.ARC,
    "lirs": libcachesim.LIRS,
    "w-tiny-lfu": libcachesim.WTinyLFU,
}

path, capacity = sys.argv[1], int(sys.argv[2])
print(libcachesim.__version__, flush=True)
for line in sys.stdin:
    reader = libcachesim.TraceReader(path, libcachesim.TraceType.ORACLE_GENERAL_TRACE)
    # The table has its final size from the start, so that it never grows.
    cache = POLICIES[line.strip()](capacity, hashpower=max(16, capacity.bit_length()))
    began = time.perf_counter()
    ratio, _ = cache.process_trace(reader)
    print(time.perf_counter() - began, ratio, flush=True)
