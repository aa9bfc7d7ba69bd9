"""Networks that memorise a graph of facts, the facts they get wrong, and detectors of those.

A fact joins a subject and a predicate to an object. The network reads learned embeddings of both and answers with a
softmax over objects; a wrong answer about a fact it was trained on is a hallucination. Setting: Hron and others,
"Training Language Models on the Knowledge Graph" (2024, arXiv:2408.07852), here with one hidden layer instead of a
language model.

Shape code: S models (seeds), F facts = subjects x predicates, E embedding, H hidden units, V objects, K checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scalebook.ensemble import Optimiser, Parameters, train

SUBJECTS, PREDICATES, OBJECTS, EMBEDDING = 64, 8, 32, 16
FLOOR = 0.001  # rates below this count as tied


def facts(rng: np.random.Generator, exponent: float = 1.0) -> np.ndarray:
    """Return the object of every fact, (subjects, predicates) in 0..V-1.

    Objects follow Zipf's law for each predicate, and each predicate has favourites of its own.
    """
    p = np.arange(1, OBJECTS + 1, dtype=float) ** -exponent
    ranks = rng.choice(OBJECTS, size=(SUBJECTS, PREDICATES), p=p / p.sum())
    named = np.argsort(rng.random((PREDICATES, OBJECTS)), axis=1)  # rank -> object
    return named[np.arange(PREDICATES), ranks]


def largest_share(graph: np.ndarray) -> float:
    """Return how often the commonest object of its predicate is right: the best that knowing no fact can give."""
    return float(np.mean([np.bincount(column).max() / len(column) for column in graph.T]))


def size(width: int) -> int:
    """Return the parameters of a network without its embeddings."""
    return (2 * EMBEDDING + 1) * width + (width + 1) * OBJECTS


@dataclass(frozen=True)
class Memorised:
    """Networks of one width after training: checkpoints (K,), loss in nats and hallucination rate (K, S).

    At `kept` epochs: `wrong` (S, F), the answers' probabilities (S, F, V) and the hidden states (S, F, H).
    """

    width: int
    epochs: np.ndarray
    loss: np.ndarray
    rate: np.ndarray
    wrong: np.ndarray
    softmax: np.ndarray
    hidden: np.ndarray


def memorise(
    graphs: np.ndarray, width: int, checkpoints: Sequence[int], kept: int, start: Callable[[int], torch.Generator],
    *, shuffle: Callable[[int], torch.Generator] | None = None, rate: float = 1e-2,
) -> Memorised:  # fmt: skip
    """Train one network a graph (S, subjects, predicates), full batch, Adam at a constant rate, to the last checkpoint.

    With `shuffle`, objects change places among the subjects of a predicate before every epoch: their frequencies
    stay, and there is nothing to memorise. Rates are always against `graphs`. `kept` is one of the checkpoints.
    """
    truth = torch.from_numpy(graphs).flatten(1)  # (S, F)
    nothing = torch.zeros(1)
    movers = [shuffle(s) for s in range(len(graphs))] if shuffle else []

    def batches(step: int) -> tuple[Tensor, Tensor]:
        if not movers:
            return nothing, truth
        order = torch.stack([torch.rand(SUBJECTS, PREDICATES, generator=g).argsort(dim=0) for g in movers])
        return nothing, torch.from_numpy(graphs).gather(1, order).flatten(1)

    states: dict[str, Tensor] = {}

    def look(held: Parameters) -> dict[str, Tensor]:
        hidden = hidden_states(held)
        logits = read_out(held, hidden)
        now = wanted[len(seen)]
        seen.append(now)
        if now == kept:
            states.update(hidden=hidden, softmax=logits.softmax(dim=-1), wrong=logits.argmax(dim=-1) != truth)
        return {"loss": mean_cross_entropy(logits, truth), "rate": (logits.argmax(dim=-1) != truth).float().mean(dim=1)}

    wanted, seen = sorted(checkpoints), []
    trained = train(
        begin(width, [start(s) for s in range(len(graphs))]), lambda held, _: read_out(held, hidden_states(held)),
        mean_cross_entropy, batches, wanted[-1], Optimiser(rate=rate), look, wanted,
    )  # fmt: skip
    history = {name: value.numpy() for name, value in trained.history.items()}
    kept_states = {name: value.numpy() for name, value in states.items()}
    return Memorised(width, np.array(wanted), history["loss"], history["rate"], **kept_states)


def begin(width: int, generators: Sequence[torch.Generator]) -> Parameters:
    """Return starting parameters: embeddings N(0, 1), weights N(0, 1/fan-in), biases 0."""
    shapes = {
        "subject": (SUBJECTS, EMBEDDING), "predicate": (PREDICATES, EMBEDDING), "from_subject": (EMBEDDING, width),
        "from_predicate": (EMBEDDING, width), "bias": (1, 1, width), "out": (width, OBJECTS), "out_bias": (1, OBJECTS),
    }  # fmt: skip
    scale = {"subject": 1.0, "predicate": 1.0, "out": width**-0.5, "bias": 0.0, "out_bias": 0.0}
    fan_in = (2 * EMBEDDING) ** -0.5
    drawn = [{k: torch.randn(s, generator=g) * scale.get(k, fan_in) for k, s in shapes.items()} for g in generators]
    return {name: torch.stack([one[name] for one in drawn]) for name in shapes}


def hidden_states(held: Parameters) -> Tensor:
    """Return the hidden states (S, F, H).

    Subject and predicate add up before the ReLU, so each is multiplied out once and not once a fact.
    """
    subjects = torch.bmm(held["subject"], held["from_subject"])[:, :, None]  # (S, subjects, 1, H)
    predicates = torch.baddbmm(held["bias"][:, 0], held["predicate"], held["from_predicate"])  # (S, predicates, H)
    return torch.relu(subjects + predicates[:, None]).flatten(1, 2)


def read_out(held: Parameters, hidden: Tensor) -> Tensor:
    """Return logits (S, F, V) of hidden states (S, F, H)."""
    return torch.baddbmm(held["out_bias"], hidden, held["out"])


def mean_cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    """Return each model's mean cross-entropy in nats, (S,); logits (S, F, V), truth (S, F)."""
    each = torch.nn.functional.cross_entropy(logits.flatten(0, 1), truth.flatten(), reduction="none")
    return each.view(truth.shape).mean(dim=1)


def best_width(networks: Sequence[Memorised], seed: int) -> tuple[int, float] | None:
    """Return the width with the least training loss at the largest compute that has an interior optimum.

    Compute is parameters (without embeddings) times epochs; losses between checkpoints by straight lines in log loss
    on log epochs. Only widths that reach this compute within their training take part. Returns (width, compute), or
    None.
    """
    sizes = np.array([size(one.width) for one in networks], dtype=float)
    logs = [np.log(one.epochs) for one in networks]
    longest = max(s * one.epochs[-1] for s, one in zip(sizes, networks, strict=True))
    for compute in np.geomspace(longest, sizes[0] * networks[0].epochs[0], 400):
        epochs = np.log(compute / sizes)
        able = [k for k in range(len(networks)) if logs[k][0] <= epochs[k] <= logs[k][-1]]
        if len(able) < 3:
            continue
        loss = [np.interp(epochs[k], logs[k], np.log(networks[k].loss[:, seed])) for k in able]
        at = int(np.argmin(loss))
        if 0 < at < len(able) - 1:
            return networks[able[at]].width, float(compute)
    return None


def matched_counts(wrong: np.ndarray, least: int = 60) -> tuple[np.ndarray, int]:
    """Return which widths have enough wrong and right answers, and the number of each that all of those can give.

    wrong: (widths, answers), booleans, the answers of a group of models pooled.
    """
    fewest = np.minimum(wrong.sum(axis=1), (~wrong).sum(axis=1))
    usable = fewest >= least
    return usable, int(fewest[usable].min()) if usable.any() else 0
