"""A number that a run produced must be glued into the prose, not typed: typed ones grow old in silence.

What is looked for are decimals and percentages in the text of chapters. Left alone are formulas, code, links,
exercises with their given numbers, sentences that quote a paper, and numbers named in a comment
``<!-- typed: 0.05, the level of the test -->`` in the same cell.
"""

import json
import re
from pathlib import Path

import pytest

CHAPTERS = sorted((Path(__file__).resolve().parents[1] / "chapters").glob("*.ipynb"))

NUMBER = re.compile(r"(?<![\w.,/$^_-])[-−+±]?(?:\d+\.\d+(?:\s?%)?|\d+\s?%)(?![\w/]|\.\d)")
USUAL = {"95 %", "95%", "50 %", "50%", "100 %", "100%"}  # the level of every interval, halves and wholes
READ_THROUGH = {
    "note",
    "tip",
    "hint",
    "important",
    "warning",
    "caution",
    "attention",
    "seealso",
    "admonition",
    "margin",
    "sidebar",
    "epigraph",
}
QUOTED = re.compile(r"\{cite|\bpaper|\bauthors?\b|arXiv|\bet al|and others|\b(19|20)\d\d\b|published", re.IGNORECASE)
ALLOWED = re.compile(r"<!--\s*typed:(.*?)-->", re.DOTALL)
FENCE = re.compile(
    r"^(?P<fence>`{3,}|~{3,}|:{3,})[ ]*(?:\{(?P<kind>[\w-]+)\})?[^\n]*\n(?P<body>.*?)^(?P=fence)[ ]*$",
    re.DOTALL | re.MULTILINE,
)
SILENT = [
    re.compile(r"\$\$.*?\$\$", re.DOTALL),
    re.compile(r"\$[^$\n]+\$"),
    re.compile(r"\\begin\{(\w+\*?)\}.*?\\end\{\1\}", re.DOTALL),
    re.compile(r"\{[\w:-]+\}`[^`]*`"),
    re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)", re.DOTALL),
    re.compile(r"\]\([^)]*\)"),
    re.compile(r"https?://\S+"),
    re.compile(r"<!--.*?-->", re.DOTALL),
    re.compile(r"<[^>]+>"),
]


def typed_numbers(cells: list[str]) -> list[str]:
    """Return the suspicious numbers of a chapter's text cells, each with the words around it."""
    found, inside = [], False
    for cell in cells:
        allowed = {number for note in ALLOWED.findall(cell) for number in NUMBER.findall(note)}
        text, inside = without_gated(cell, inside)
        text = readable(text)
        for sentence in re.split(r"(?<=[.!?:;])\s+|\n\s*\n|\n(?=[-*|#])", text):
            if QUOTED.search(sentence):
                continue
            for match in NUMBER.finditer(sentence.replace("\x00", " ")):
                number = match[0].strip()
                if number not in USUAL | allowed and number.lstrip("-−+±") not in allowed:
                    found.append(f"{number} in: {' '.join(sentence.split())[:120]}")
    return found


def without_gated(cell: str, inside: bool) -> tuple[str, bool]:
    """Drop gated exercises and solutions, which may run over several cells."""
    kept = []
    for line in cell.splitlines():
        mark = re.match(r"\s*(?:`{3,}|:{3,})\{(exercise|solution)-(start|end)\}", line)
        if mark:
            inside = mark[2] == "start"
        elif not inside:
            kept.append(line)
    return "\n".join(kept), inside


def readable(text: str) -> str:
    """Return the words of a cell: no formulas, code, roles, links; of boxes only those that hold prose."""

    def opened(match: re.Match[str]) -> str:
        return readable(match["body"]) if match["kind"] in READ_THROUGH else "\n\n"

    text = FENCE.sub(opened, text)
    # a quotation keeps its sentence out of the search, so the mark of one survives
    text = re.sub(r"\{cite[\w:]*\}`[^`]*`", " {cite ", text)
    for pattern in SILENT:
        text = pattern.sub(" \x00 ", text)
    return text


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_results_are_glued_not_typed(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
    assert typed_numbers(cells) == [], "print these with ch.glue and {glue:text}, or quote where they come from"


@pytest.mark.parametrize(
    "text",
    [
        "The exponent is 1.02, close to one.",
        "We find 0.91 ± 0.04 over eight seeds.",
        "The loss falls by 37 % when the width doubles.",
        ":::{note}\nThe slope came out as 0.87.\n:::",
        "- strong: 1.00\n- weak: 0.24",
        "| regime | slope |\n|---|---|\n| strong | 0.98 |",
    ],
)
def test_typed_results_are_found(text):
    assert typed_numbers([text])


@pytest.mark.parametrize(
    "text",
    [
        "The exponent is {glue:text}`alpha`, close to one.",
        r"With $\alpha = 1.25$ and $$L = 4/3 \cdot 0.5$$ the law holds.",
        "The paper prints 0.91 for open models.",
        "Their fit gives 0.886 {cite:t}`liu2025superposition`.",
        "Kaplan and others (2020) have 0.076.",
        "```python\nrate = 0.01\n```",
        "`gamma_weak = 0.333` is a knob; see [the file](data/v1.5/x.csv).",
        "Every interval is a 95 % interval over 8 seeds.",
        "Section 2.1.3 of Python 3.11.7 on 2025-05-11.",
        "<!-- typed: 0.05, the level of the test -->\nA value below 0.05 would be a surprise.",
        "```{exercise} Warm-up\n:label: e1\nLet the slope be 0.7.\n```",
        "````{solution} e1\n:class: dropdown\nIt is 0.7.\n````",
    ],
)
def test_other_numbers_are_left_alone(text):
    assert typed_numbers([text]) == []


def test_gated_exercises_may_run_over_cells():
    cells = [
        "```{exercise-start} Core\n:label: e2\n```\nLet it be 0.7.",
        "and 0.3",
        "```{exercise-end}\n```\nWe measured 0.5.",
    ]
    assert [found.split()[0] for found in typed_numbers(cells)] == ["0.5"]
