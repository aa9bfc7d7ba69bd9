"""A new chapter: a notebook with all sections and a stub for each registered claim, its exercises, its references."""

from __future__ import annotations

import difflib
import json
import re
from pathlib import Path
from typing import Any

from scalebook.downloads import references_bib
from scalebook.errors import UserError
from scalebook.parameters import FIRST_SEED, SLUG
from scalebook.paths import atomic_write, root
from scalebook.records import ChapterInfo, Claim, Paper
from scalebook.register import load_chapters, load_register

OPENING = """# {title}

**{question}**

The answer in three sentences: what was measured, what came out, and what it does not show."""

SETUP = """import matplotlib.pyplot as plt

from scalebook import Chapter, Estimate, check

ch = Chapter("{slug}", profile=profile, seed=seed)"""

EXPERIMENT = """## {title}

{idea}

Tell the idea in your own words, give the formula with every symbol and unit, and say what to look for before it is
shown."""

FIGURE = """def draw():
    figure, axes = plt.subplots()
    axes.set(xlabel="x (unit)", ylabel="y (unit)")
    return figure


ch.figure("{name}", draw, caption="What this shows.", alt="What the eye should see here, with its number."{key})"""

CONTROL = """## The control

Remove the cause and the effect must vanish. Say what was removed, and what each control measured."""

LIMITS = """## What a laptop cannot show

The papers' compute, sizes and steps beside ours in powers of ten; which conclusions that puts out of reach; what the
`large` profile adds; the strongest published objection, and whether the verdicts survive it."""

EXERCISE = """## Exercises

```{{exercise-start}} A first one
:label: {slug}-e1
```
Ask for one number that the reader can work out from this chapter.
```{{exercise-end}}
```"""

ANSWER = """answer = None
check("{slug}.e1", answer)"""

SOLUTION = """```{{solution-start}} {slug}-e1
:class: dropdown
```
Show the way to the answer, not only the answer.
```{{solution-end}}
```"""

REFERENCES = """## References

This chapter tests {cited}.

```{{bibliography}}
:filter: docname in docnames
```

To cite this chapter: see *Cite* on the first page and add the chapter's title."""

EXERCISES = """chapter: {slug}
exercises:
- id: {slug}.e1
  level: warm-up
  kind: number
  ask: The mean squared overlap of two random unit vectors in 64 dimensions.
  truth: 1 / 64
  why: By symmetry every coordinate carries 1/64 of the squared length.
  mistakes:
  - name: root instead of square
    answer: 1 / 8
    hint: That is the typical overlap itself; square it before averaging.
"""


def scaffold(slug: str) -> list[Path]:
    """Write the files of a new chapter and return them.

    Raises UserError when the name is not one of the book's chapters or the chapter has a file already.
    """
    chapters = {chapter.slug: chapter for chapter in load_chapters()}
    if not SLUG.fullmatch(slug):
        raise UserError(
            f"{slug!r} is no name for a chapter: use small letters, digits and underscores, beginning with a letter."
        )
    if slug not in chapters:
        close = difflib.get_close_matches(slug, chapters, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise UserError(
            f"{slug!r} is not in data/chapters.yml.{hint} Add it there, and its rules in data/papers/{slug}.yml, first."
        )
    papers = load_register(slug).papers
    files = {
        root() / "chapters" / f"{slug}.ipynb": json.dumps(
            _notebook(chapters[slug], papers), indent=1, ensure_ascii=False
        )
        + "\n",
        root() / "chapters" / f"{slug}.bib": references_bib(papers),
        root() / "data" / "exercises" / f"{slug}.yml": EXERCISES.format(slug=slug),
    }
    there = [path.relative_to(root()).as_posix() for path in files if path.exists()]
    if there:
        raise UserError(f"The chapter {slug!r} is begun already: {', '.join(there)}. Nothing was written.")
    for path, content in files.items():
        atomic_write(path, content)
    return list(files)


def _notebook(chapter: ChapterInfo, papers: tuple[Paper, ...]) -> dict[str, Any]:
    slug = chapter.slug
    cells = [
        _text(OPENING.format(title=chapter.title, question=chapter.question)),
        _code(f'profile = "quick"\nseed = {FIRST_SEED}', "parameters"),
        _code(SETUP.format(slug=slug)),
    ]
    for number, paper in enumerate(papers):
        key, tags = (", key=True", ["key-figure"]) if number == 0 else ("", [])
        name = re.sub(r"[^a-z0-9]+", "-", paper.key).strip("-")
        cells += [
            _text(EXPERIMENT.format(title=paper.title, idea=" ".join(paper.idea.split()))),
            _code(f'ch.paper("{paper.key}")'),
            _code(FIGURE.format(name=name, key=key), *tags),
            *(_code(_claim(claim)) for claim in paper.claims),
        ]
    cells += [
        _text(CONTROL),
        _text(LIMITS),
        _text(EXERCISE.format(slug=slug)),
        _code(ANSWER.format(slug=slug)),
        _text(SOLUTION.format(slug=slug)),
        _text(REFERENCES.format(cited=", ".join(f"{{cite:t}}`{paper.key}`" for paper in papers))),
    ]
    for number, cell in enumerate(cells, start=1):
        cell["id"] = f"{slug.replace('_', '-')}-{number}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {
        "cells": cells,
        "metadata": {"kernelspec": kernel, "scalebook": {"data": []}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _claim(claim: Claim) -> str:
    """Return the stub of a claim: every measure of the register, none measured yet."""
    measures = "".join(f'    {name}=Estimate.missing("not measured yet"),\n' for name in claim.measures)
    return f'ch.claim(\n    "{claim.id}",\n{measures})'


def _text(source: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": source.splitlines(keepends=True)}


def _code(source: str, *tags: str) -> dict[str, Any]:
    metadata = {"tags": list(tags)} if tags else {}
    return {
        "cell_type": "code",
        "execution_count": None,
        "metadata": metadata,
        "outputs": [],
        "source": source.splitlines(keepends=True),
    }
