"""The command ``scalebook``. Everything heavy is imported inside a command, so that help and lists come at once."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from scalebook.errors import ScalebookError, UserError, explain
from scalebook.suite.command import suite

app = typer.Typer(
    help="How Things Scale: run the book's chapters, judge their claims, build the site.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
talk = Console(stderr=True, highlight=False)
page = Console(highlight=False)

STOPPED = 130  # what a shell reports for Ctrl-C

Profile = Annotated[str, typer.Option(help="quick, full (what is published) or large.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random, 0 to 2^31-1.")]
Jobs = Annotated[int | None, typer.Option(help="Chapters at a time; as many as there are cores unless given.")]
Json = Annotated[bool, typer.Option("--json", help="Print a JSON list and nothing else on standard output.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Stop at once, saying who, when another command is at work.")]


app.command()(suite)


@app.command("list")
def list_chapters() -> None:
    """List the chapters in reading order: which are written, which planned."""
    from scalebook import inputs, tables
    from scalebook.register import parts

    page.print(tables.contents(parts(), inputs.written()))


@app.command()
def run(
    slugs: Annotated[
        list[str], typer.Argument(metavar="SLUG", help="Names of chapters, as `scalebook list` shows them.")
    ],
    profile: Profile = "quick",
    seed: Seed = 1000,
    parameter: Annotated[
        list[str] | None, typer.Option("-p", metavar="NAME=VALUE", help="Turn a knob of the chapter.")
    ] = None,
    jobs: Jobs = None,
    force: Annotated[bool, typer.Option("--force", help="Run again even when nothing has changed.")] = False,
    json: Json = False,
    no_wait: NoWait = False,
) -> None:
    """Run chapters and judge their claims; only what has changed is run again."""
    from scalebook import ledger, parameters, tables
    from scalebook.runner import Wanted, run_all

    parameters.check_profile(profile)
    parameters.check_seed(seed)
    cores = _jobs(jobs)
    names = list(dict.fromkeys(parameters.check_slug(slug) for slug in slugs))
    wanted = [Wanted(name, profile, seed, parameters.parse(name, parameter or [])) for name in names]
    with _at_work(no_wait):
        failures = run_all(wanted, jobs=cores, console=talk, force=force)
        rows = [row for item in wanted for row in ledger.run_rows(profile, seed, item.run, only_finished=True)]
    if json:
        _print_json(rows)
    else:
        page.print(tables.claims(rows))
        for item in wanted:
            page.print(f"Results: {escape(str(item.folder))}", soft_wrap=True)
    _report(failures)


@app.command()
def build(
    profile: Profile = "quick",
    jobs: Jobs = None,
    executor: Annotated[str | None, typer.Option(help="Snakemake executor plugin, for a cluster.")] = None,
    no_wait: NoWait = False,
) -> None:
    """Run every chapter that has changed, then build the site."""
    from scalebook import inputs, parameters, tables
    from scalebook.runner import Failure, Wanted, run_all
    from scalebook.site import build_site

    parameters.check_profile(profile)
    cores = _jobs(jobs)
    seed = parameters.FIRST_SEED
    with _at_work(no_wait):
        wanted = [Wanted(slug, profile, seed) for slug in inputs.written()]
        failures = run_all(wanted, jobs=cores, console=talk, executor=executor)
        talk.print("[dim]site[/dim]   building")
        index = None
        try:
            index = build_site(profile, seed)
        except ScalebookError as error:  # the runs are worth their table even when the site is not
            failures.append(Failure("site", str(error)))
        page.print(tables.verdicts(profile, seed, [item.slug for item in wanted]))
    if index is not None:
        page.print(f"Open {index.resolve().as_uri()}", soft_wrap=True)
    _report(failures)


@app.command()
def site(
    profile: Profile = "quick",
    shots: Annotated[
        Path | None, typer.Option(help="Also save pictures of the pages here: 1280 and 390 px, light and dark.")
    ] = None,
    no_wait: NoWait = False,
) -> None:
    """Build the site from the runs that are there."""
    from scalebook import parameters
    from scalebook.site import build_site
    from scalebook.site import shots as take_shots

    parameters.check_profile(profile)
    with _at_work(no_wait):
        index = build_site(profile, parameters.FIRST_SEED)
        if shots is not None:
            take_shots(shots)
            page.print(f"Pictures: {escape(str(shots))}", soft_wrap=True)
    page.print(f"Open {index.resolve().as_uri()}", soft_wrap=True)


@app.command()
def ledger(
    profile: Annotated[
        str | None, typer.Option(help="quick (default) or large: this build's; full: the published values.")
    ] = None,
    accept: Annotated[
        str | None, typer.Option(metavar="SLUG", help="Publish the full run of a chapter in data/ledger/.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The seed of the run to publish.")] = 1000,
    json: Json = False,
    no_wait: NoWait = False,
) -> None:
    """Show every claim of the book with its verdict, or publish a chapter's full run."""
    from scalebook import ledger as records
    from scalebook import parameters, tables

    if accept is None:
        rows = records.book_rows(parameters.check_profile(profile or "quick"))
    else:
        if profile not in (None, records.PUBLISHED):
            raise UserError(f"Only {records.PUBLISHED} runs are published; leave --profile out with --accept.")
        slug = parameters.check_slug(accept)
        records.check_seed(seed)
        with _at_work(no_wait):
            path = records.accept(slug, seed)
        talk.print(f"Accepted: {escape(str(path))}", soft_wrap=True)
        rows = [row for row in records.book_rows(records.PUBLISHED) if row["chapter"] == slug]
    if json:
        _print_json(rows)
    else:
        page.print(tables.claims([row for row in rows if row["verdict"] != "planned"]))
        page.print(tables.tally(rows))


@app.command()
def seeds(
    slug: Annotated[str, typer.Argument(help="Name of a chapter.")],
    number: Annotated[int, typer.Option("--seeds", help="How many seeds, counted up from --first.")],
    first: Annotated[int, typer.Option(help="The first seed.")] = 1000,
    profile: Profile = "quick",
    jobs: Jobs = None,
    json: Json = False,
    no_wait: NoWait = False,
) -> None:
    """Run a chapter with many seeds and show how far its verdicts agree."""
    from scalebook import parameters, tables
    from scalebook.runner import Wanted, run_all
    from scalebook.seeds import agreement

    parameters.check_slug(slug)
    parameters.check_profile(profile)
    if number < 1:
        raise UserError(f"--seeds {number}: give at least 1.")
    chosen = list(range(parameters.check_seed(first), parameters.check_seed(first + number - 1) + 1))
    cores = _jobs(jobs)
    with _at_work(no_wait):
        failures = run_all([Wanted(slug, profile, seed) for seed in chosen], jobs=cores, console=talk)
        found = agreement(profile, chosen, slug)
    if json:
        _print_json(found)
    else:
        page.print(tables.agreement(found))
    _report(failures)


@app.command()
def drift(
    slugs: Annotated[
        list[str] | None, typer.Argument(metavar="SLUG", help="Chapters to compare; all unless given.")
    ] = None,
    profile: Profile = "full",
) -> None:
    """Compare this build's full runs with the published values; a changed verdict is an error."""
    from scalebook import drift as comparison
    from scalebook import parameters, tables

    parameters.check_profile(profile)
    found = comparison.compare(profile, [parameters.check_slug(slug) for slug in slugs or []])
    page.print(tables.drift(found))
    if any(claim.changed for claim in found):
        raise typer.Exit(1)


@app.command()
def new(
    slug: Annotated[str, typer.Argument(help="One of the chapters in data/chapters.yml that is not written yet.")],
) -> None:
    """Start a chapter: a notebook with all its sections and claims, its exercises and its references."""
    from scalebook.scaffold import scaffold

    for path in scaffold(slug):
        page.print(f"wrote {escape(str(path))}", soft_wrap=True)
    page.print(
        f"Next: take its line in _toc.yml out of the comment, write, then: make chapter NAME={slug}", soft_wrap=True
    )


@app.command()
def doctor() -> None:
    """Check what the book needs of this machine."""
    from scalebook import doctor as checks
    from scalebook import tables

    found = checks.examine()
    page.print(tables.doctor(found))
    if any(check.state == "missing" for check in found):
        raise typer.Exit(1)


def main() -> None:
    """Run the command; whatever goes wrong ends in a message that says what to do, and an exit status."""
    try:
        app()
    except Exception as error:  # the last line of defence: a reader should see a message, never a traceback
        if os.environ.get("SCALEBOOK_DEBUG") == "1":
            raise
        talk.print(f"[bold red]error[/bold red] {escape(explain(error))}", soft_wrap=True)
        sys.exit(2 if isinstance(error, UserError) else 1)


@contextmanager
def _at_work(no_wait: bool) -> Iterator[None]:
    """Hold the build folder; Ctrl-C ends with a word on what happens next."""
    from scalebook.lock import build_lock

    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    try:
        with build_lock(command, wait=not no_wait, say=lambda text: talk.print(escape(text), soft_wrap=True)):
            yield
    except KeyboardInterrupt:
        talk.print("Stopped. Finished chapters are kept; the same command goes on from there.")
        raise typer.Exit(STOPPED) from None


def _jobs(given: int | None) -> int:
    from scalebook.processes import available_cores

    if given is not None and given < 1:
        raise UserError(f"--jobs {given}: give a whole number of at least 1, or leave it out for all cores.")
    return given or available_cores()


def _report(failures: list) -> None:
    """List what failed, last, where it is seen; the exit status is then 1."""
    if failures:
        talk.print(f"\n[bold red]{len(failures)} failed[/bold red]")
        for failure in failures:
            talk.print(f"  {escape(failure.text())}", soft_wrap=True)
        raise typer.Exit(1)


def _print_json(rows: list) -> None:
    from scalebook.paths import dump_json

    sys.stdout.write(dump_json(rows))


if __name__ == "__main__":
    main()
