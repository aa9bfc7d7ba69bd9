"""The command ``scalebook suite``: make the data set, see how far it is, merge what is finished."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from scalebook.errors import UserError


def suite(
    blocks: Annotated[str, typer.Option(help="Blocks to train; by default those for a CPU, with --gpu the others.")] = "",
    sizes: Annotated[str, typer.Option(help="Sizes to train, as m0,m5; by default all of a block.")] = "",
    jobs: Annotated[int, typer.Option(help="Worker processes, one thread each.")] = 2,
    gpu: Annotated[bool, typer.Option("--gpu", help="Train on the GPU, many jobs at a time.")] = False,
    merge: Annotated[bool, typer.Option("--merge", help="Only add finished runs to the tables in data/suite.")] = False,
    minutes: Annotated[Optional[float], typer.Option(help="Stop cleanly after so many minutes.")] = None,
    status: Annotated[bool, typer.Option("--status", help="Only say what is finished.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Only train some published runs again and compare.")] = False,
) -> None:
    """Train the microscale suite, run by run; a run that is in the table or finished here is not trained again."""
    from scalebook.suite import merging, running
    from scalebook.suite.plan import BLOCKS, GPU_BLOCKS

    if jobs < 1:
        raise UserError(f"--jobs is {jobs}; give 1 or more.")
    if merge + status + check > 1:
        raise UserError("Give one of --merge, --status and --check.")
    if merge:
        typer.echo(merging.merge())
    elif check:
        running.check()
    elif status:
        typer.echo(merging.status(blocks or "".join(BLOCKS)))
    else:
        usual = GPU_BLOCKS if gpu else "".join(block for block in BLOCKS if block not in GPU_BLOCKS)
        finished = running.work(blocks or usual, jobs, minutes, sizes, gpu)
        typer.echo("All runs are finished; add them with --merge." if finished else "Stopped; run it again to go on.")
