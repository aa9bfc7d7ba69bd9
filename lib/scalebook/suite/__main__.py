"""``python -m scalebook.suite``: the same as ``scalebook suite``."""

from __future__ import annotations

import sys

import typer

from scalebook.errors import ScalebookError, UserError
from scalebook.suite.command import suite


def main() -> None:
    """Run the command; an error of ours is one message and an exit status, not a traceback."""
    try:
        typer.run(suite)
    except ScalebookError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UserError) else 1)


if __name__ == "__main__":
    main()
