"""The kernel that chapters run in: always this interpreter, whatever kernels the reader has installed."""

from __future__ import annotations

import sys
from typing import Any

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager

running: list[int] = []
"""Process ids of the kernels that this process started; each leads a process group of its own."""


class OwnKernelManager(AsyncKernelManager):
    """Starts IPython's kernel under ``sys.executable``, bound to the life of this process."""

    @property
    def kernel_spec(self) -> KernelSpec:
        """Return our own specification instead of one looked up in the reader's folders."""
        launch = [sys.executable, "-m", "scalebook.processes", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=launch, display_name="Python 3", language="python")

    async def _async_start_kernel(self, **options: Any) -> None:
        await super()._async_start_kernel(**options)
        running.append(self.provisioner.pid)

    start_kernel = _async_start_kernel
