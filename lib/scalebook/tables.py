"""Tables for the terminal."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from scalebook.progress import coloured, counts

if TYPE_CHECKING:
    from scalebook.doctor import Check
    from scalebook.drift import Drift
    from scalebook.records import ChapterInfo


def contents(parts: list[tuple[str, list[ChapterInfo]]], written: list[str]) -> Table:
    """Return the book's contents: chapter, level, minutes, written or planned."""
    table = _table("chapter", "title", "level", "min", "state")
    for title, chapters in parts:
        table.add_row(f"[bold]{escape(title)}[/bold]", "", "", "", "")
        for info in chapters:
            state = "[green]written[/green]" if info.slug in written else "[dim]planned[/dim]"
            table.add_row(info.slug, escape(info.title), info.level, str(info.minutes), state)
    return table


def claims(rows: list[dict[str, Any]]) -> RenderableType:
    """Return the verdict of every claim, and under it each judged measure beside the range that its rule accepts."""
    lines: list[RenderableType] = []
    for row in rows:
        lines.append(f"{coloured(row['verdict'], row['verdict'])}  [bold]{row['claim']}[/bold]")
        # a grid of its own for each claim: one long name must not push all others off an 80-column terminal
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        for _ in range(3):
            table.add_column(overflow="fold")
        for measured in row["measurements"]:
            if measured["accept_low"] is not None or measured["accept_high"] is not None:
                accepted = _bounds(measured["accept_low"], measured["accept_high"])
                table.add_row(f"  {measured['measure']}", _interval(measured), f"[dim]{accepted}[/dim]")
        if table.row_count:
            lines.append(table)
    return Group(*lines)


def tally(rows: list[dict[str, Any]]) -> str:
    """Return the count of every verdict in one line."""
    papers = len({row["paper"] for row in rows})
    return f"{len(rows)} claims of {papers} papers: {counts([row['verdict'] for row in rows])}"


def verdicts(profile: str, seed: int, slugs: list[str]) -> RenderableType:
    """Return one line for every chapter of a build: verdicts, core-seconds, peak memory."""
    from scalebook import ledger, runs

    table = _table("chapter", "verdicts", "core-s", "MB")
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for slug in slugs:
        rows[slug] = ledger.run_rows(profile, seed, slug, only_finished=True)
        cost = runs.load_cost(profile, seed, slug) if runs.finished(profile, seed, slug) else None
        used = (f"{cost.cpu_seconds:.0f}", f"{cost.peak_rss_mb:.0f}") if cost else ("", "")
        table.add_row(slug, counts([row["verdict"] for row in rows[slug]]), *used)
    return Group(table, tally([row for found in rows.values() for row in found]))


def agreement(found: list[dict[str, Any]]) -> Table:
    """Return one line for every claim: the share of the commonest verdict, and all verdicts counted."""
    table = _table("claim", "agree", "verdicts")
    for claim in found:
        table.add_row(claim["claim"], f"{claim['agree']:.0%}", counts([run["verdict"] for run in claim["runs"]]))
    return table


def drift(found: list[Drift]) -> RenderableType:
    """Return the claims whose verdict changed or whose measures moved, and a line that sums up."""
    table = _table("claim", "published", "here", "moved")
    for claim in found:
        if claim.changed or claim.moved:
            moved = "\n".join(
                f"{m.measure}: {_interval(m.published.model_dump())} -> "
                f"{_interval(m.found.model_dump()) if m.found else 'none'}"
                for m in claim.moved
            )
            table.add_row(claim.claim, claim.published, coloured(claim.found, claim.found), moved)
    changed, moved = sum(claim.changed for claim in found), sum(len(claim.moved) for claim in found)
    line = f"{len(found)} claims compared: {changed} verdicts changed, {moved} measures moved."
    return Group(table, line) if table.row_count else Group(line)


def doctor(checks: list[Check]) -> Table:
    """Return one line for every check: fine, worth knowing, or missing."""
    table = _table("", "what", "found")
    marks = {"fine": "[green]ok[/green]", "note": "[yellow]note[/yellow]", "missing": "[red]missing[/red]"}
    for check in checks:
        table.add_row(marks[check.state], check.name, escape(check.found))
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=number == 0)
    return table


def _interval(measured: dict[str, Any]) -> str:
    """Return value and interval; the bracket is escaped for rich."""
    value, low, high = measured["value"], measured["low"], measured["high"]
    if value is None:
        return "no value"
    return f"{value:.4g}" if low is None or low == high else f"{value:.4g} \\[{low:.4g}, {high:.4g}]"


def _bounds(low: float | None, high: float | None) -> str:
    if low is None:
        return f"at most {high:.6g}"
    if high is None:
        return f"at least {low:.6g}"
    return f"exactly {low:.6g}" if low == high else f"{low:.6g} to {high:.6g}"
