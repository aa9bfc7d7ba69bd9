"""What the terminal shows while chapters run: a line when one starts, a line when it ends, the cells in between."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from rich.console import Console
from rich.markup import escape

from scalebook import runs
from scalebook.errors import ScalebookError

STYLES = {"reproduced": "green", "not reproduced": "red", "inconclusive": "yellow"}


class Progress:
    """Turns events into lines on a console; on a terminal a last line follows the cells of the chapters at work."""

    def __init__(self, console: Console, total: int) -> None:
        self.console, self.total = console, total
        self.failures: dict[str, dict[str, Any]] = {}
        self._begun: dict[str, float] = {}
        self._cells: dict[str, str] = {}
        self._ended = 0
        self._status = console.status("") if console.is_terminal else None

    def __enter__(self) -> Progress:
        if self._status:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status:
            self._status.stop()

    def take(self, event: dict[str, Any]) -> None:
        """Show one event of `scalebook.events`."""
        run = event["run"]
        if event["kind"] == "started":
            self._begun[run] = time.monotonic()
            self.console.print(f"[dim]start[/dim]  {escape(run)}")
        elif event["kind"] == "cell":
            self._cells[run] = f"cell {event['number']} of {event['count']}"
        else:
            self._cells.pop(run, None)
            self._begun.pop(run, None)
            self._ended += 1
            if event["kind"] == "failed":
                self.failures[run] = event
                self.console.print(f"[bold red]failed[/bold red] {escape(run)}: {escape(event['error'])}")
            else:
                self.console.print(f"[dim]done[/dim]   {escape(run)}  {event['seconds']:.1f} s  {_summary(run)}")
        self.refresh()

    def refresh(self) -> None:
        """Redraw the last line; called between events so that its seconds go on."""
        if self._status:
            now = time.monotonic()
            at_work = [f"{run} {self._cells.get(run, '')} {now - begun:.0f} s" for run, begun in self._begun.items()]
            self._status.update(
                f"{self._ended} of {self.total} done · {' · '.join(map(escape, at_work)) or 'looking what changed'}"
            )


def counts(verdicts: list[str]) -> str:
    """Return verdicts counted in rich's markup: ``4 reproduced, 1 inconclusive``."""
    found = Counter(verdicts)
    ordered = [*STYLES, *sorted(set(found) - set(STYLES))]
    return ", ".join(coloured(verdict, f"{found[verdict]} {verdict}") for verdict in ordered if found[verdict])


def coloured(verdict: str, text: str) -> str:
    """Return text in the colour of a verdict, in rich's markup."""
    style = STYLES.get(verdict, "dim")
    return f"[{style}]{text}[/{style}]"


def _summary(run: str) -> str:
    """Return verdict counts, core-seconds and peak memory of a finished run."""
    profile, seed, name = run.split("/")
    try:
        results, cost = runs.load_results(profile, int(seed), name), runs.load_cost(profile, int(seed), name)
    except ScalebookError as error:
        return escape(str(error))
    if results is None or cost is None:
        return "results are not here yet"
    verdicts = counts([claim.verdict for claim in results.claims.values()]) or "no claims"
    unfinished = "" if results.complete else " [yellow](not all claims of the register)[/yellow]"
    return f"{verdicts}{unfinished}  {cost.cpu_seconds:.0f} core-s  {cost.peak_rss_mb:.0f} MB"
