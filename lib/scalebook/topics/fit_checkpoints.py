"""Predict a large model from smaller ones: from final losses alone, or from checkpoints along the way.

For Choshen et al. (2024, arXiv 2410.11840). Every scheme fits the same three numbers, E, A and B of
E + A N^-alpha + B D^-alpha, with one borrowed exponent, so that none has more freedom than another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from scalebook import laws
from scalebook.fitting import fit
from scalebook.topics.suite_cells import ends

FIRST = 0.1  # share of a run that counts as its beginning
SCHEMES = ("final", "branches", "checkpoints", "uncut", "shuffled", "own last")
SHUFFLES = 4


def borrowed_exponent(rows: pd.DataFrame) -> float:
    """Return alpha of E + A N^-alpha + B D^-alpha fitted to rows with N, D and loss."""
    found = fit(laws.Chinchilla.tie(beta="alpha"), {"N": rows["N"], "D": rows["D"]}, rows["loss"].to_numpy())
    return found.params["alpha"]


def forecast(rows: pd.DataFrame, alpha: float, target: Mapping[str, float]) -> float:
    """Return the loss that E, A and B fitted to ``rows`` (columns N, D, loss) predict at N and D of ``target``."""
    law = laws.Chinchilla.fix(alpha=alpha, beta=alpha)
    found = fit(law, {"N": rows["N"], "D": rows["D"]}, rows["loss"].to_numpy(), delta=None)
    return float(found.predict({"N": [target["N"]], "D": [target["D"]]})[0])


def forecast_by_size(rows: pd.DataFrame, alpha: float, target: Mapping[str, float]) -> float:
    """Return the loss that L0 + A N^-alpha predicts, which leaves tokens out."""
    law = laws.PowerFloor.on(x="N").fix(alpha=alpha)
    found = fit(law, {"N": rows["N"]}, rows["loss"].to_numpy(), delta=None)
    return float(found.predict({"N": [target["N"]]})[0])


def final_error(finals: pd.DataFrame, alpha: float, target: Mapping[str, float]) -> float:
    """Return |forecast - loss| / loss at ``target`` (N, D, loss) from one row a size.

    Either form may be used, whichever comes nearer to the truth: final losses get the benefit of every doubt.
    """
    guesses = forecast(finals, alpha, target), forecast_by_size(finals, alpha, target)
    return min(abs(guess - target["loss"]) for guess in guesses) / target["loss"]


def relative_errors(
    finals: pd.DataFrame, branches: pd.DataFrame, along: pd.DataFrame, alpha: float, target: Mapping[str, float],
    rng: np.random.Generator,
) -> dict[str, float]:  # fmt: skip
    """Return |forecast - loss| / loss at ``target`` (N, D, loss) for each of `SCHEMES` but the last.

    ``finals``: one row a size; ``branches``: all cooled losses; ``along``: checkpoints with the column ``share``, how
    far into its run each lies, already moved by the offset of cooling. "shuffled" deals the losses of the checkpoints
    out at random.
    """
    late = along[along["share"] > FIRST]
    rows_of = {"branches": branches, "checkpoints": late, "uncut": along}
    dealt = [late.assign(loss=rng.permutation(late["loss"].to_numpy())) for _ in range(SHUFFLES)]

    def error(rows: pd.DataFrame) -> float:
        return abs(forecast(rows, alpha, target) - target["loss"]) / target["loss"]

    found = {"final": final_error(finals, alpha, target)} | {name: error(rows) for name, rows in rows_of.items()}
    return found | {"shuffled": float(np.exp(np.mean(np.log([error(rows) for rows in dealt]))))}


def suite_errors(
    table: pd.DataFrame, seed: int, fitted: Sequence[str], target: str, rng: np.random.Generator
) -> dict[str, float]:
    """Return the relative errors on block M of the suite for one seed: sizes ``fitted`` predict ``target``.

    The target's loss is its cooled one at its largest budget. Final losses are those at that budget; "own last" takes
    each size's own largest instead. The exponent comes from the cooled losses of the other seeds at the fitted sizes.
    """
    table = table.rename(columns={"n_nonemb": "N", "tokens": "D", "val": "loss"})
    cooled = ends(table[table["schedule"] == "cooled"])
    goal = cooled[(cooled["size"] == target) & (cooled["seed"] == seed)].nlargest(1, "D").iloc[0]
    aim = goal[["N", "D", "loss"]].to_dict()
    known = cooled[cooled["size"].isin(fitted)]
    alpha = borrowed_exponent(known[known["seed"] != seed])
    mine = known[known["seed"] == seed]
    finals, last = (
        rows.loc[rows.groupby("size")["D"].idxmax()] for rows in (mine[mine["budget"] <= goal["budget"]], mine)
    )
    trunk = table[(table["schedule"] == "constant") & (table["seed"] == seed) & table["size"].isin(fitted)]
    trunk = trunk.assign(share=trunk["D"] / trunk["budget"])
    pairs = mine.merge(trunk[trunk["share"] > FIRST], on=["size", "D"], suffixes=("", "_trunk"))
    offset = (pairs["loss"] - pairs["loss_trunk"]).mean()
    along = trunk.assign(loss=trunk["loss"] + offset)
    found = relative_errors(finals, mine, along, alpha, aim, rng)
    return found | {"own last": final_error(last, alpha, aim)}


def opt_curves(table: pd.DataFrame) -> pd.DataFrame:
    """Return the published OPT trajectories with N, D, loss in nats a token and the share of the run, by size."""
    scale = {"m": 1e6, "b": 1e9}
    n = table["model_size"].map(lambda text: float(text[:-1]) * scale[text[-1]])
    d = 10.0 ** table["num_token"]
    found = pd.DataFrame({"size": table["model_size"], "N": n, "D": d, "loss": np.log(table["ppl"])})
    return found.assign(share=found["D"] / found.groupby("size")["D"].transform("max")).sort_values(["N", "D"])


def opt_errors(curves: pd.DataFrame, fitted: int, alpha: float, rng: np.random.Generator) -> dict[str, float]:
    """Return the relative errors on OPT: the ``fitted`` smallest sizes predict the last loss of the largest.

    No cooled branches were published: "branches" is left out, and checkpoints are taken as they are.
    """
    order = curves.drop_duplicates("size")["size"].tolist()
    known, goal = curves[curves["size"].isin(order[:fitted])], curves[curves["size"] == order[-1]].iloc[-1]
    finals = known.loc[known.groupby("size")["D"].idxmax()]
    found = relative_errors(finals, finals, known, alpha, goal[["N", "D", "loss"]].to_dict(), rng)
    return {name: value for name, value in found.items() if name != "branches"}
