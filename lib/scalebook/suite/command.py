"""The command ``scalebook suite``: make the data set, see how far it is, merge what is finished."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from scalebook.errors import UserError


def suite(
    blocks: Annotated[str, typer.Option(help="Blocks to train, letters of MLSWBH.")] = "MLSWBH",
    jobs: Annotated[int, typer.Option(help="Worker processes, one thread each.")] = 2,
    merge: Annotated[bool, typer.Option("--merge", help="Only add finished runs to the tables in data/suite.")] = False,
    minutes: Annotated[Optional[float], typer.Option(help="Stop cleanly after so many minutes.")] = None,
    status: Annotated[bool, typer.Option("--status", help="Only say what is finished.")] = False,
) -> None:
    """Train the microscale suite, run by run; a run that is in the table or finished here is not trained again."""
    from scalebook.suite import merging, running

    if jobs < 1:
        raise UserError(f"--jobs is {jobs}; give 1 or more.")
    if merge and status:
        raise UserError("Give --merge or --status, not both.")
    if merge:
        typer.echo(merging.merge())
    elif status:
        typer.echo(merging.status(blocks))
    else:
        finished = running.work(blocks, jobs, minutes)
        typer.echo("All runs are finished; add them with --merge." if finished else "Stopped; run it again to go on.")
