"""Laws for dense and sparse models on the routed language models of Clark et al. (2022, arXiv 2202.01169).

Each model sends a token to one of K experts in every second layer, so that it computes as its dense base does and has
up to hundreds of times the parameters. All were trained on the same number of tokens.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from scalebook import laws
from scalebook.fitting import fit
from scalebook.topics.sparse_students import SparseLaw

KEY = "clark2022unified/routing_curves"
ROUTERS = ("S-Base", "Hash", "RL-R")
AWARE, ACTIVE = "sparsity-aware", "sparsity-aware, active parameters"
DENSE = ("dense, all parameters", "dense, active parameters")
OWN, FREE = "the authors' law", "free fit for each number of experts"


def cells(curves: pd.DataFrame, router: str) -> pd.DataFrame:
    """Return the final losses of one router and of the dense models, one row a size and number of experts.

    Columns: base (name of the size), experts, loss (nats a token, on the validation set), total and dense (parameters).
    Models that route otherwise than to one expert in every second layer are left out, as in the authors' main fit.
    """
    last = curves.loc[curves.groupby("hyper_id")["step"].idxmax()]
    usual = (last["k"] == 1) & (last["routing_frequency"] == 0.5) & last["router_type"].isin([router, "Dense"])
    found = last[usual].groupby(["model_size_label", "num_experts"], as_index=False).agg(
        loss=("loss_validation", "mean"), total=("total_parameter_count", "first"), dense=("dense_parameter_count", "first")
    )
    return found.rename(columns={"model_size_label": "base", "num_experts": "experts"})


def forecasts(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Fit every law to all cells but those of the largest base, and return what it says of all cells, (cells,) each.

    The number of tokens is one and the same, so B/D^beta is a part of the floor. `OWN` is the law of the paper's equation
    2, log L = a log N + b log K + c log N log K + d with N the dense parameters, by least squares.
    """
    total, dense, loss = (table[name].to_numpy(dtype=float) for name in ("total", "dense", "loss"))
    seen, share = dense < dense.max(), 1 - dense / total
    found = {}
    for name, size in ((AWARE, total), (ACTIVE, dense)):
        x = {"N": size, "D": np.ones_like(size), "S": share}
        law = fit(SparseLaw, {key: values[seen] for key, values in x.items()}, loss[seen], delta=None)
        found[name] = law.predict(x)
    for name, size in zip(DENSE, (total, dense), strict=True):
        found[name] = fit(laws.PowerFloor, size[seen], loss[seen], delta=None).predict(size)
    n, k = np.log(dense), np.log(table["experts"].to_numpy(dtype=float))
    terms = np.stack([n, k, n * k, np.ones_like(n)], axis=1)
    found[OWN] = np.exp(terms @ np.linalg.lstsq(terms[seen], np.log(loss[seen]), rcond=None)[0])
    found[FREE] = np.full_like(loss, np.nan)
    for experts in table["experts"].unique():
        mine = (table["experts"] == experts).to_numpy()
        own = fit(laws.PowerFloor, dense[mine & seen], loss[mine & seen], delta=None)
        found[FREE][mine] = own.predict(dense[mine])
    return found


def misses(table: pd.DataFrame, found: dict[str, np.ndarray], fitted: bool = False) -> dict[str, float]:
    """Return the root mean square of log forecast - log loss over the cells of the largest base, for each law.

    With ``fitted`` over the others, which the laws were fitted to.
    """
    cells_of = (table["dense"] < table["dense"].max()) == fitted
    loss = table["loss"].to_numpy()
    return {name: float(np.sqrt((np.log(values / loss)[cells_of] ** 2).mean())) for name, values in found.items()}
