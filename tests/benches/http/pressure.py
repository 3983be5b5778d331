"""The scenario `pressure`: requests look for data of earlier requests while the kernel migrates pages."""

import itertools
import mmap
import multiprocessing
import os
import signal
import sys
from argparse import Namespace
from pathlib import Path

from launch import noop_config, start_plimsoll
from results import Results

# Within what each slot keeps, within what a slot of a core keeps, and beyond both.
SIZES = [1 << 20, 4 << 20, 12 << 20]
COMPACT = Path("/proc/sys/vm/compact_memory")


def pressure(options: Namespace) -> None:
    """Slots that are filled and searched while the kernel compacts memory: a search must find nothing.

    Four requests fill, then four search, because a request runs in the slot of its core or in that of all cores: so most
    searches are in a slot that was filled before. A run that fills or searches counts as a hundred, so that the slots of the
    cores are used after the first ones.
    """
    if not os.access(COMPACT, os.W_OK):
        sys.exit(f"{COMPACT} is not writable: run this scenario as root, because it makes the kernel migrate pages")
    results = Results("pressure")
    what = "1, 4 and 12 MiB, filled and searched"
    for _ in range(options.rounds):
        compaction = multiprocessing.Process(target=compact_memory, daemon=True)
        compaction.start()
        moved_before, found, searches = migrated_pages(), 0, 0
        # A page that has been migrated once stays where it is, so the server is started again and again.
        for _ in range(20):
            config = "[server]\nmax_concurrency = 1\n" + noop_config("tester")
            with start_plimsoll(options.binary, config) as server:
                for size in itertools.islice(itertools.cycle(SIZES), 50):
                    for _ in range(4):
                        if server.post(f"{server.path}?do=fill&bytes={size}", b"")[0] != 200:
                            sys.exit("the plugin `tester` failed to fill its memory")
                    for _ in range(4):
                        found += server.post(f"{server.path}?do=search&bytes={size}", b"")[0] != 200
                        searches += 1
        compaction.terminate()
        compaction.join()
        results.add(what, "plimsoll", searches=searches, found=found, pages_moved=migrated_pages() - moved_before)
    results.finish()
    if any(round_["found"] for round_ in results.rounds[what, "plimsoll"]):
        sys.exit("a request found data that an earlier request had written")


def compact_memory() -> None:
    """Compacts memory until the process is terminated. Makes holes in memory first, because the kernel has nothing to
    compact without them."""
    size = 1 << 30
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    while True:
        with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as holes:
            holes.madvise(mmap.MADV_NOHUGEPAGE)
            for at in range(0, size, mmap.PAGESIZE):
                holes[at] = 1
            for at in range(0, size, 2 * mmap.PAGESIZE):
                holes.madvise(mmap.MADV_DONTNEED, at, mmap.PAGESIZE)
            for _ in range(16):
                COMPACT.write_text("1")


def migrated_pages() -> int:
    """The number of pages that the kernel has migrated since the machine started."""
    lines = Path("/proc/vmstat").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("pgmigrate_success"))
