"""What the book needs of a machine, checked one by one."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scalebook import browser
from scalebook.errors import ScalebookError
from scalebook.paths import build_dir, root
from scalebook.processes import available_cores

NEEDED_GB = 2.0
KERNEL_SECONDS = 60
_GIGABYTE = 1024**3
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)")

State = Literal["fine", "note", "missing"]


@dataclass(frozen=True)
class Check:
    """One thing looked at: fine, worth knowing (note), or missing so that the book will not run."""

    name: str
    state: State
    found: str


def examine() -> list[Check]:
    """Return all checks in the order in which a reader would fix them."""
    return list(_checks())


def _checks() -> Iterator[Check]:
    yield _python()
    yield _lock()
    yield _disk()
    yield Check("cores", "fine", f"{available_cores()}: as many chapters run at a time")
    yield _kernel()
    yield _torch()
    yield _mirror()
    yield _browser()


def _python() -> Check:
    fits = sys.version_info >= (3, 11)
    inside = sys.prefix != sys.base_prefix or "CONDA_PREFIX" in os.environ
    found = f"{platform.python_version()}, {sys.executable}"
    if not fits:
        return Check("Python", "missing", f"{found}; the book needs 3.11 or newer")
    return Check(
        "Python",
        "fine" if inside else "note",
        found if inside else f"{found}, outside any environment; `make book` makes one",
    )


def _lock() -> Check:
    """Compare what is installed with the lock, build tags such as +cpu left aside."""
    path = root() / "constraints.txt"
    if not path.is_file():
        return Check("packages", "missing", "constraints.txt is not here; restore it from the repository")
    other = []
    for line in path.read_text(encoding="utf-8").splitlines():
        pin = _PIN.match(line)
        if pin:
            try:
                installed = importlib.metadata.version(pin.group(1)).partition("+")[0]
            except importlib.metadata.PackageNotFoundError:
                continue  # the lock also names what other systems need
            if installed != pin.group(2):
                other.append(f"{pin.group(1)} {installed} instead of {pin.group(2)}")
    if other:
        return Check("packages", "note", f"not those of the lock, results may differ: {', '.join(other[:4])}")
    return Check("packages", "fine", "those of constraints.txt")


def _disk() -> Check:
    folder = build_dir()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / _GIGABYTE
    if not os.access(folder, os.W_OK):
        return Check("disk", "missing", f"{folder} is not writable")
    return Check(
        "disk",
        "fine" if free >= NEEDED_GB else "missing",
        f"{free:.1f} GB free for {build_dir()}, {NEEDED_GB:g} needed",
    )


def _kernel() -> Check:
    """Start the kernel that chapters run in, in a process of its own, and let it add two numbers."""
    code = (
        "from scalebook.kernel import OwnKernelManager\n"
        "from nbclient import NotebookClient\n"
        "import nbformat.v4 as v4\n"
        "notebook = v4.new_notebook(cells=[v4.new_code_cell('1 + 1')])\n"
        "NotebookClient(notebook, kernel_manager_class=OwnKernelManager, kernel_name='python3').execute()\n"
        "assert notebook.cells[0].outputs[0]['data']['text/plain'] == '2'\n"
    )
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=KERNEL_SECONDS)
    except subprocess.TimeoutExpired:
        return Check("kernel", "missing", f"no answer within {KERNEL_SECONDS} s")
    last = done.stderr.strip().rpartition("\n")[2]
    return Check("kernel", "fine", "starts and computes") if done.returncode == 0 else Check("kernel", "missing", last)


def _torch() -> Check:
    try:
        version = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return Check("PyTorch", "missing", "not installed; run `make book`")
    if "+cpu" in version or sys.platform != "linux":
        return Check("PyTorch", "fine", version)
    return Check("PyTorch", "fine", f"{version}, with support for graphics cards; the smaller CPU build is enough")


def _mirror() -> Check:
    named = os.environ.get("SCALEBOOK_MIRROR")
    if not named:
        return Check(
            "data mirror",
            "note",
            "SCALEBOOK_MIRROR is not set: published raw tables are asked for at their sources, some are not run",
        )
    if not Path(named).is_dir():
        return Check("data mirror", "note", f"SCALEBOOK_MIRROR is {named}, which is no folder")
    return Check("data mirror", "fine", named)


def _browser() -> Check:
    try:
        found = browser.find()
    except ScalebookError as error:
        return Check("browser", "note", str(error))
    if found is None:
        return Check("browser", "note", "none: pages are not tested in one (python -m scalebook.browser installs one)")
    return Check("browser", "fine", str(found))
