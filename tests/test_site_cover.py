"""What the cover promises: the fitter works in the four lines that are printed there."""

import re
from pathlib import Path

import numpy as np
from scalebook.register import load_all

COVER = (Path(__file__).resolve().parents[1] / "index.md").read_text(encoding="utf-8")


def test_the_numbers_of_the_first_sentences_are_those_of_the_register():
    papers = [paper for register in load_all().values() for paper in register.papers]
    claims = sum(len(paper.claims) for paper in papers)
    assert f"{len(papers)} papers say how things change" in COVER
    assert f"{claims} such claims from {len(papers)} papers" in COVER.replace("\n", " ")


def test_the_four_lines_run_and_fit_what_they_show(capsys):
    code = re.search(r"```python\n(.*?)```", COVER, re.DOTALL)[1]
    assert len(code.strip().splitlines()) == 4
    names: dict = {}
    exec(code, names)  # the reader's own way of trying it
    assert "alpha" in capsys.readouterr().out
    found = names["found"]
    # an independent look: with the floor taken off, the points lie on a line of slope -alpha
    tokens, loss = np.array(names["tokens"]), np.array(names["loss"])
    line = np.polyfit(np.log(tokens), np.log(loss - found.params["E"]), 1)
    assert abs(-line[0] - found.params["alpha"]) < 0.02
    interval = found.interval("alpha")
    assert interval.low < found.params["alpha"] < interval.high
