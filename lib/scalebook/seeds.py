"""Stability over seeds: the same chapter run with many seeds, and how far its verdicts agree."""

from __future__ import annotations

from collections import Counter
from typing import Any

from scalebook.ledger import run_rows


def agreement(profile: str, seeds: list[int], slug: str) -> list[dict[str, Any]]:
    """Return one ``{claim, agree, runs: [{seed, verdict, measurements}]}`` for every claim of the chapter.

    ``agree`` is the share of runs with the commonest verdict. The runs must be there; one without results counts as
    "not run".
    """
    by_seed = {seed: run_rows(profile, seed, slug, only_finished=True) for seed in seeds}
    found = []
    for rows in zip(*by_seed.values(), strict=True):
        commonest = Counter(row["verdict"] for row in rows).most_common(1)[0][1]
        runs = [{"seed": row["seed"], "verdict": row["verdict"], "measurements": row["measurements"]} for row in rows]
        found.append({"claim": rows[0]["claim"], "agree": commonest / len(rows), "runs": runs})
    return found
