"""Relations between concepts as parallelograms, and what removing distractor directions does to them.

A relation (man : woman, king : queen, ...) is a set of pairs (a_i, b_i). Were it a constant shift, all differences
b_i - a_i would be parallel. Li and others, "The Geometry of Concepts" (2024, arXiv:2410.19750), project out
directions along which the differences of one relation vary most, shared by many relations. Shape code: R relations, P
pairs, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from scalebook.ranks import auroc

# 25 pairs each, written by hand; every word is a single token of the model in `word_vectors`
RELATIONS: Mapping[str, str] = {
    "country : capital": (
        "france paris germany berlin italy rome spain madrid england london russia moscow japan tokyo china beijing "
        "egypt cairo greece athens poland warsaw austria vienna hungary budapest sweden stockholm norway oslo "
        "denmark copenhagen portugal lisbon ireland dublin belgium brussels turkey ankara iran tehran iraq baghdad "
        "syria damascus kenya nairobi peru lima"
    ),
    "country : nationality": (
        "france french germany german italy italian spain spanish england english russia russian japan japanese "
        "china chinese egypt egyptian greece greek poland polish austria austrian hungary hungarian sweden swedish "
        "norway norwegian denmark danish portugal portuguese ireland irish belgium belgian turkey turkish brazil "
        "brazilian india indian canada canadian australia australian korea korean"
    ),
    "adjective : antonym": (
        "good bad hot cold big small tall short fast slow strong weak rich poor happy sad young old light dark hard "
        "soft wet dry early late high low wide narrow thick thin clean dirty full empty loud quiet sharp blunt deep "
        "shallow safe dangerous open closed true false sweet bitter"
    ),
    "singular : plural": (
        "house houses car cars dog dogs book books tree trees river rivers king kings city cities child children "
        "woman women bird birds hand hands year years road roads game games song songs school schools ship ships "
        "door doors church churches army armies horse horses flower flowers mountain mountains country countries"
    ),
    "verb : past": (
        "go went take took give gave see saw run ran eat ate write wrote speak spoke break broke drive drove know "
        "knew grow grew fall fell find found build built buy bought bring brought teach taught think thought feel "
        "felt keep kept leave left send sent lose lost walk walked"
    ),
    "adjective : comparative": (
        "large larger small smaller high higher low lower long longer short shorter strong stronger weak weaker old "
        "older young younger great greater fast faster slow slower deep deeper dark darker light lighter hard "
        "harder soft softer warm warmer cold colder big bigger wide wider rich richer poor poorer easy easier"
    ),
    "verb : agent": (
        "teach teacher write writer sing singer play player work worker farm farmer paint painter lead leader read "
        "reader speak speaker run runner fight fighter hunt hunter drive driver build builder own owner rule ruler "
        "buy buyer win winner manage manager produce producer design designer train trainer dance dancer swim "
        "swimmer"
    ),
    "male : female": (
        "man woman king queen boy girl father mother brother sister son daughter husband wife uncle aunt nephew "
        "niece prince princess actor actress duke duchess god goddess hero heroine grandfather grandmother grandson "
        "granddaughter emperor empress monk nun wizard witch waiter waitress lad lass groom bride bull cow baron "
        "baroness count countess"
    ),
}


def pairs(relation: str) -> tuple[list[str], list[str]]:
    """Return the first and the second words of a relation's pairs."""
    words = RELATIONS[relation].split()
    return words[::2], words[1::2]


def distractors(differences: Sequence[np.ndarray]) -> np.ndarray:
    """Return the directions (D, D), strongest first, along which differences vary within relations.

    ``differences`` holds one array (P, D) a relation. Their covariances about each relation's own mean are averaged,
    S_w of a linear discriminant; the rows returned are its eigenvectors. The relations' means, S_b, play no part.
    """
    within = sum(np.cov(d, rowvar=False, bias=True) for d in differences) / len(differences)
    return np.linalg.eigh(within)[1].T[::-1]


def without(vectors: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Return vectors (..., D) without their part in the span of orthonormal ``directions`` (k, D)."""
    return vectors - (vectors @ directions.T) @ directions


def random_directions(count: int, dimension: int, rng: np.random.Generator) -> np.ndarray:
    """Return ``count`` orthonormal random directions (count, D)."""
    return np.linalg.qr(rng.standard_normal((dimension, count)))[0].T


def hard_auc(first: np.ndarray, second: np.ndarray) -> float:
    """Return how well a relation tells its true pairs from mismatched ones, first and second words (P, D).

    A candidate (a_i, b_k) scores the cosine of b_k - a_i with the mean difference of the true pairs other than i and
    k. True pairs (k = i) are compared with all mismatched ones of the same relation: topic alone does not help. 0.5
    is chance.
    """
    n = len(first)
    true = second - first
    total = true.sum(axis=0)
    both = true @ true.T
    # (i, k) products of b_k - a_i with total - t_i - t_k, from products of vectors: no (P, P, D) array is formed
    product = (second @ total)[None, :] - (first @ total)[:, None]
    product -= true @ second.T - np.sum(first * true, axis=1)[:, None]
    product -= np.sum(second * true, axis=1)[None, :] - first @ true.T
    left = true @ total
    rest = total @ total - 2 * (left[:, None] + left[None, :]) + 2 * both
    rest += np.diag(both)[:, None] + np.diag(both)[None, :]
    size = np.sum(second**2, axis=1)[None, :] + np.sum(first**2, axis=1)[:, None] - 2 * first @ second.T
    # on the diagonal t_i was taken out twice
    own = np.arange(n)
    product[own, own] = left - np.diag(both)
    rest[own, own] = total @ total - 2 * left + np.diag(both)
    cosine = product / np.sqrt(rest * size)
    same = np.eye(n, dtype=bool)
    return auroc(cosine.ravel(), same.ravel())


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return vectors (..., D) scaled to length 1."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def mean_cosine(differences: np.ndarray) -> float:
    """Return the mean cosine over pairs of different differences (P, D) of one relation."""
    u = unit(differences)
    n = len(u)
    return float((np.sum(u.sum(axis=0) ** 2) - n) / (n * (n - 1)))


def easy_auc(own: np.ndarray, others: np.ndarray) -> float:
    """Return how well cosines of differences within a relation (P, D) exceed those with other relations' (Q, D)."""
    u, v = unit(own), unit(others)
    within, between = (u @ u.T)[np.triu_indices(len(u), 1)], (u @ v.T).ravel()
    return auroc(np.concatenate([within, between]), np.arange(within.size + between.size) < within.size)


def synthetic_relations(
    kind: str, rng: np.random.Generator, relations: int = 8, pairs: int = 25, dimension: int = 64, ratio: float = 4.0
) -> tuple[np.ndarray, np.ndarray]:
    """Draw words of relations that are constant shifts plus noise: first and second words (R, P, D).

    First words are standard normal over sqrt(D), each relation a shift of length 1 in a random direction. The noise
    of a difference has root mean square length ``ratio``: "concentrated" in a plane that all relations share, or
    "isotropic" in all dimensions alike.
    """
    first = rng.standard_normal((relations, pairs, dimension)) / np.sqrt(dimension)
    shifts = unit(rng.standard_normal((relations, 1, dimension)))
    if kind == "concentrated":
        noise = rng.standard_normal((relations, pairs, 2)) @ random_directions(2, dimension, rng) / np.sqrt(2)
    elif kind == "isotropic":
        noise = rng.standard_normal((relations, pairs, dimension)) / np.sqrt(dimension)
    else:
        raise ValueError(f"noise {kind!r}: choose concentrated or isotropic")
    return first, first + shifts + ratio * noise
