"""Processes that end together: whatever becomes of a parent, its kernels and their children do not outlive it.

``python -m scalebook.processes MODULE ARGUMENT...`` runs a module like ``python -m MODULE`` does, but dies when its
parent dies, kill -9 included.
"""

from __future__ import annotations

import ctypes
import os
import platform
import runpy
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
PARENT_POLL_SECONDS = 0.5
_PR_SET_PDEATHSIG = 1  # from linux/prctl.h


def one_thread() -> dict[str, str]:
    """Return the variables that keep numerical libraries to one thread, as the cost of a chapter assumes."""
    names = ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "VECLIB_MAXIMUM")
    return {f"{name}_NUM_THREADS": "1" for name in names}


def same_arithmetic() -> dict[str, str]:
    """Return the variables that make x86 processors on Linux round alike: AVX2 where wider instructions are there.

    A sum in another order differs in its last digit, and training amplifies that to the third. Nothing is asked of a
    processor without AVX2, or of another kind; there the numbers agree as far as rounding lets them.
    """
    try:
        known = set(CPU_INFO.read_text(encoding="utf-8").split())
    except OSError:
        return {}
    if platform.machine() != "x86_64" or "avx2" not in known:
        return {}
    return {
        "MKL_CBWR": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "OPENBLAS_CORETYPE": "Haswell",
        "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
    }  # fmt: skip


def available_cores() -> int:
    """Return the number of cores that this process may use (containers may grant fewer than the machine has)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def when_parent_dies(action: Callable[[], None]) -> None:
    """Call ``action`` from a thread as soon as the process that started this one is gone."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_POLL_SECONDS)
        action()

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def die_with_parent() -> None:
    """Make this process end when its parent does: by the operating system on Linux, by watching elsewhere."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    else:
        when_parent_dies(lambda: os._exit(1))


def kill_group(leader: int) -> None:
    """Kill a process that leads its own group, with everything it started; a group already gone is no error."""
    try:
        if hasattr(os, "killpg"):
            os.killpg(leader, signal.SIGKILL)
        else:
            os.kill(leader, signal.SIGTERM)
    except ProcessLookupError:
        return


def main() -> None:
    """Run the module named on the command line with the arguments after it."""
    die_with_parent()
    module = sys.argv[1]
    sys.argv = sys.argv[1:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
