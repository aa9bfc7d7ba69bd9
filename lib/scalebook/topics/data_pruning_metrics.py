"""Ranking the examples of a real data set, keeping some of them, and training many small students on what is kept.

Shape code: S stack of students, R replicates (training seeds), P examples of a pool, K kept ones, B batch, D input,
C classes. All replicates share one table of examples; a pool or a subset is a tensor of row numbers into it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from scalebook.ensemble import Optimiser, Parameters, train
from scalebook.errors import UserError
from scalebook.models import mlp, mlp_forward

ADAMW = Optimiser(rate=5e-3, decay=1e-2)
BATCH, STEPS, EARLY, EVERY = 32, 400, 60, 10
SCORERS = 5  # networks whose scores are averaged
forward = mlp_forward()


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean loss of each student (S,) for logits (S, B, C) and labels (S, B), in nats."""
    return -logits.log_softmax(dim=-1).gather(-1, labels[..., None]).squeeze(-1).mean(dim=-1)


class Subsets:
    """Batches for students that each see their own rows (S, K) of one table; students of a replicate share the order.

    ``owner`` (S,) is each student's replicate, ``orders`` holds one generator a replicate. A batch is BATCH examples of
    a running permutation, or the whole subset where that is smaller.
    """

    def __init__(self, x: Tensor, y: Tensor, rows: Tensor, owner: Tensor, orders: Sequence[torch.Generator]) -> None:
        self.x, self.y, self.rows, self.owner, self.orders = x, y, rows, owner, orders
        self.kept = rows.shape[1]
        self.batch = min(BATCH, self.kept)
        self.next = self.kept

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """Return inputs (S, B, D) and labels (S, B)."""
        if self.next + self.batch > self.kept:
            self.order = torch.stack([torch.randperm(self.kept, generator=g) for g in self.orders])
            self.next = 0
        places = self.order[self.owner, self.next : self.next + self.batch]
        self.next += self.batch
        chosen = self.rows.gather(1, places)
        return self.x[chosen], self.y[chosen]


def student_errors(
    x: Tensor,
    y: Tensor,
    kept: Tensor,
    tests: Tensor,
    inits: Sequence[torch.Generator],
    orders: Sequence[torch.Generator],
    sizes: Sequence[int] = (64, 48, 10),
    steps: int = STEPS,
) -> np.ndarray:
    """Train one student per arm and replicate on its kept rows (R, A, K) and return test errors (R, A).

    ``tests`` (R, T) are the test rows. Within a replicate all arms start from the same network and see the same order
    of places, and every student takes ``steps`` steps whatever it keeps: equal compute.
    """
    replicates, arms, _ = kept.shape
    owner = torch.arange(replicates).repeat_interleave(arms)
    start = {name: value[owner] for name, value in mlp([sizes] * replicates, inits).items()}
    batches = Subsets(x, y, kept.flatten(0, 1), owner, orders)
    trained = train(start, forward, cross_entropy, batches, steps, ADAMW).parameters
    errors = torch.empty(replicates, arms)
    for r in range(replicates):
        own = {name: value[owner == r] for name, value in trained.items()}
        guess = forward(own, x[tests[r]]).argmax(dim=-1)
        errors[r] = (guess != y[tests[r]]).float().mean(dim=-1)
    return errors.double().numpy()


def learned_scores(
    x: Tensor,
    y: Tensor,
    pools: Tensor,
    generators: Sequence[torch.Generator],
    sizes: Sequence[int] = (64, 48, 10),
    steps: int = STEPS,
) -> dict[str, np.ndarray]:
    """Train SCORERS networks on each pool (R, P) and return scores (R, P), each high for a hard example.

    "EL2N": distance of the early softmax from the one-hot label (Paul et al. 2021); "entropy": that of the early mean
    softmax, which needs no label to be read; "forgetting": how often an example turns from right to wrong (Toneva et al.
    2019); "margin": minus the gap between the true logit and the best other one at the end.
    """
    replicates = pools.shape[0]
    owner = torch.arange(replicates).repeat_interleave(SCORERS)
    rows = pools[owner]
    inputs, labels = x[rows], y[rows]
    start = mlp([sizes] * len(owner), [generators[r] for r in owner.tolist()])
    right: list[Tensor] = []
    looks: dict[int, Tensor] = {}  # logits (S, P, C) after so many steps

    def evaluate(parameters: Parameters) -> dict[str, Tensor]:
        logits = forward(parameters, inputs)
        right.append(logits.argmax(dim=-1) == labels)
        if len(right) * EVERY in (EARLY, steps):
            looks[len(right) * EVERY] = logits
        return {}

    batches = Subsets(x, y, rows, owner, generators)
    train(start, forward, cross_entropy, batches, steps, ADAMW, evaluate, range(EVERY, steps + 1, EVERY))
    truth = torch.nn.functional.one_hot(labels, sizes[-1]).bool()
    soft, last, was_right = looks[EARLY].softmax(dim=-1), looks[steps], torch.stack(right)
    scores = {
        "EL2N": (soft - truth.float()).norm(dim=-1),
        "forgetting": (was_right[:-1] & ~was_right[1:]).sum(dim=0).float(),
        "margin": last.masked_fill(truth, -torch.inf).amax(dim=-1) - last.gather(-1, labels[..., None]).squeeze(-1),
    }
    averaged = {name: s.unflatten(0, (replicates, SCORERS)).mean(dim=1) for name, s in scores.items()}
    averaged["entropy"] = torch.special.entr(soft.unflatten(0, (replicates, SCORERS)).mean(dim=1)).sum(dim=-1)
    return {name: s.double().numpy() for name, s in averaged.items()}


def memorisation(
    x: Tensor,
    y: Tensor,
    pool: Tensor,
    generator: torch.Generator,
    networks: int = 40,
    sizes: Sequence[int] = (64, 48, 10),
) -> np.ndarray:
    """Return for each example of one pool (P,) how much more often it is right when it was trained on, shape (P,).

    ``networks`` students, each on a random half of the pool (Feldman and Zhang 2020, arXiv 2008.03703).
    """
    half = len(pool) // 2
    halves = torch.stack([torch.randperm(len(pool), generator=generator)[:half] for _ in range(networks)])
    owner = torch.zeros(networks, dtype=torch.long)
    start = mlp([sizes] * networks, [generator] * networks)
    batches = Subsets(x, y, pool[halves], owner, [generator])
    trained = train(start, forward, cross_entropy, batches, STEPS, ADAMW).parameters
    right = (forward(trained, x[pool]).argmax(dim=-1) == y[pool]).double()
    inside = torch.zeros(networks, len(pool), dtype=torch.double).scatter_(1, halves, 1.0)
    seen, unseen = inside.sum(dim=0).clamp(min=1), (1 - inside).sum(dim=0).clamp(min=1)
    return ((right * inside).sum(dim=0) / seen - (right * (1 - inside)).sum(dim=0) / unseen).numpy()


def prototype_distance(images: np.ndarray, random_state: int, prototypes: int = 10, components: int = 20) -> np.ndarray:
    """Return one minus the cosine to the own k-means centre, without labels, for images (P, D), shape (P,).

    Images are projected on their leading principal components and normalised first. Stands in for the self-supervised
    features of Sorscher et al. 2022.
    """
    from sklearn.cluster import KMeans  # a second of import that only this score needs

    centred = images - images.mean(axis=0)
    directions = np.linalg.svd(centred, full_matrices=False)[2][:components]
    features = centred @ directions.T
    features /= np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    found = KMeans(prototypes, n_init=4, random_state=random_state).fit(features)
    centres = found.cluster_centers_ / np.linalg.norm(found.cluster_centers_, axis=1, keepdims=True)
    return 1 - (features * centres[found.labels_]).sum(axis=1)


def keep(
    scores: np.ndarray, count: int, side: str, labels: np.ndarray | None = None, balance: float = 0.0
) -> np.ndarray:
    """Return the places of the ``count`` highest ("hard") or lowest ("easy") of the scores (P,), ties in their order.

    With labels, each class is first given its own best up to ``balance`` times an equal share, then the rest is filled.
    Raises UserError for more than there is and for an unknown side.
    """
    if not 1 <= count <= len(scores) or side not in ("hard", "easy"):
        raise UserError(f"keep: {count} of {len(scores)}, side {side!r}; give 1 to {len(scores)}, and hard or easy.")
    order = np.argsort(-scores if side == "hard" else scores, kind="stable")
    if labels is None or balance == 0:
        return order[:count]
    classes = np.unique(labels)
    share = int(balance * count / len(classes))
    sure = np.concatenate([order[labels[order] == c][:share] for c in classes])
    rest = order[~np.isin(order, sure)][: count - len(sure)]
    return np.concatenate([sure, rest])
