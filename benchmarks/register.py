"""How long it takes to read and check the sheets of all chapters, in seconds of processor time.

    python benchmarks/register.py            # median of 5 cold readings, and of 5 with everything in memory
"""

from __future__ import annotations

import statistics
import time

from scalebook import register


def seconds(cold: bool) -> float:
    """Return the processor time of loading every sheet."""
    if cold:
        register._read.cache_clear()
    start = time.process_time()
    register.load_all()
    return time.process_time() - start


if __name__ == "__main__":
    for name, cold in (("from the files", True), ("again", False)):
        print(f"{name}: {statistics.median(seconds(cold) for _ in range(5)):.3f} s")
