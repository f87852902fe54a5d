#!/usr/bin/env python3
"""Counts the misses of other people's policies: writes tests/golden.csv.

    pip install libcachesim==0.3.5
    python3 golden.py > golden.csv

The requests are those of tests/common/mod.rs, made by the same integer
arithmetic; golden.rs checks that they are (the sums at the end of the file).
A trace goes through libCacheSim's own loop, as a file with the time of each
next request, which its optimum needs.
"""

import bisect
import itertools
import os
import struct
import tempfile

import libcachesim

REQUESTS = 200_000
BLOCKS = 50_000
SEQUENCES = ["zipf", "uniform", "scan", "loop", "shift"]
CAPACITIES = [10, 20, 64, 100, 1000, 3000, 10_000]
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
    "belady": libcachesim.Belady,
}


class Rng:
    """PCG32."""

    def __init__(self, seed):
        self.state = seed
        self.next()

    def next(self):
        old = self.state
        self.state = (old * 6364136223846793005 + 1442695040888963407) % 2**64
        folded = (((old >> 18) ^ old) >> 27) % 2**32
        turn = old >> 59
        return (folded >> turn | folded << (-turn % 32)) % 2**32

    def below(self, limit):
        return self.next() * limit >> 32


def sequence(name):
    """The requests of a named sequence."""
    rng = Rng(sum(name.encode()))
    sums = list(itertools.accumulate(2**32 // rank for rank in range(1, BLOCKS + 1)))

    def zipf():
        return bisect.bisect_right(sums, sums[-1] * rng.next() >> 32)

    makers = {
        "zipf": lambda i: zipf(),
        "uniform": lambda i: rng.below(BLOCKS),
        "scan": lambda i: BLOCKS + i if i // 1000 % 2 else zipf(),
        "loop": lambda i: i % 5000,
        "shift": lambda i: zipf() + i // 5000 * 100,
    }
    return [(makers[name](i) + 1) * 2654435761 % 2**32 for i in range(REQUESTS)]


def write_trace(blocks, path):
    """Time, block, size 1 and the time of the next request for the block."""
    following = {}
    records = []
    for time in range(len(blocks), 0, -1):
        block = blocks[time - 1]
        records.append(struct.pack("<IQIq", time, block, 1, following.get(block, -1)))
        following[block] = time
    with open(path, "wb") as file:
        file.write(b"".join(reversed(records)))


def misses(policy, path, capacity, requests):
    """How many requests miss in a cache of `capacity` blocks."""
    reader = libcachesim.TraceReader(path, libcachesim.TraceType.ORACLE_GENERAL_TRACE)
    ratio, _ = policy(capacity, hashpower=16).process_trace(reader)
    return round(ratio * requests)


def main():
    print("policy,sequence,capacity,misses")
    sums = []
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "trace.oracleGeneral")
        for name in SEQUENCES:
            blocks = sequence(name)
            sums.append((name, sum(block * i for i, block in enumerate(blocks)) % 2**64))
            write_trace(blocks, path)
            for policy, capacity in itertools.product(POLICIES, CAPACITIES):
                count = misses(POLICIES[policy], path, capacity, REQUESTS)
                print(f"{policy},{name},{capacity},{count}", flush=True)
    for name, total in sums:
        print(f"sum,{name},{REQUESTS},{total}")


if __name__ == "__main__":
    main()
