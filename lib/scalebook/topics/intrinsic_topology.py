"""Persistent homology of a small cloud of points: connected pieces (H0) and loops (H1) as a distance grows.

The Vietoris-Rips complex at distance t joins points closer than t, and fills a triangle whose three edges are there.
Pieces die along a minimum spanning tree. Loops are found by reducing the coboundary matrix, the method of de Silva,
Morozov and Vejdemo-Johansson (2011): one column an edge, longest edge first, each column a bit set of triangles held
in one Python integer.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse.csgraph import minimum_spanning_tree

from scalebook.errors import UserError
from scalebook.topics.intrinsic_geometry import squared_distances

MOST = 80  # points: columns are sets of triangles, and these grow as the cube


def piece_lives(distances: np.ndarray) -> np.ndarray:
    """Return the n - 1 finite lives of the connected pieces, rising, from a matrix of distances (n, n) above 0."""
    return np.sort(minimum_spanning_tree(distances).data)


def loop_lives(distances: np.ndarray) -> np.ndarray:
    """Return births and deaths (loops, 2) of the loops of a Rips complex, those of no length left out.

    distances (n, n), n at most 80, no two equal off the diagonal but by symmetry (ties are broken by position).
    Distances beyond the least t at which one point is joined to all others are left out: from there on the complex is
    a cone and has no loop.
    """
    n = len(distances)
    if n > MOST:
        raise UserError(f"loop_lives: {n} points; this simple reduction takes at most {MOST}. Hand in a sample.")
    if n < 4:
        return np.empty((0, 2))
    first, second = np.triu_indices(n, 1)
    order = np.argsort(distances[first, second], kind="stable")
    first, second = first[order], second[order]
    length = distances[first, second]
    kept = length <= distances.max(axis=1).min()
    first, second, length = first[kept], second[kept], length[kept]
    rank = np.full((n, n), len(length))  # of an edge in the filtration; edges left out come last
    rank[first, second] = rank[second, first] = np.arange(len(length))
    a, b, c = _triangles(n)
    sides = np.sort(np.stack([rank[a, b], rank[a, c], rank[b, c]], axis=1), axis=1)
    sides = sides[sides[:, 2] < len(length)]
    sides = sides[np.lexsort((sides[:, 0], sides[:, 1], sides[:, 2]))[::-1]]  # youngest triangle first: bit 0
    tree = _tree(first, second, n)
    owner: dict[int, int] = {}  # lowest triangle -> its reduced column
    pairs = []
    columns = _columns(sides, len(length))
    for edge in range(len(length) - 1, -1, -1):
        if tree[edge]:
            continue  # this edge joins two pieces: it closes no loop
        column = columns[edge]
        while column:
            top = column.bit_length() - 1  # the oldest triangle of the column
            if top not in owner:
                owner[top] = column
                pairs.append((length[edge], length[sides[top, 2]]))
                break
            column ^= owner[top]
    lives = np.array(pairs).reshape(-1, 2)
    return lives[lives[:, 1] > lives[:, 0]]


def summary(points: np.ndarray) -> tuple[float, float]:
    """Return two persistence features of a cloud (n, D): log of longest over median piece life, total loop life.

    Lengths are in units of the root mean square distance from the centre; clouds of fewer than 4 points have features
    0.
    """
    if len(points) < 4:
        return 0.0, 0.0
    centred = points - points.mean(axis=0)
    distances = np.sqrt(squared_distances(centred, centred) / (centred**2).sum(axis=1).mean())
    distances = np.maximum(distances, 1e-9)  # a tree of zero lengths would be no tree for scipy
    np.fill_diagonal(distances, 0.0)
    pieces, loops = piece_lives(distances), loop_lives(distances)
    return float(np.log(pieces[-1] / np.median(pieces))), float((loops[:, 1] - loops[:, 0]).sum())


def roughness(points: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of points whose nearest neighbour has another label; points (n, D), labels (n,)."""
    squared = squared_distances(points, points)
    np.fill_diagonal(squared, np.inf)
    return float((labels[squared.argmin(axis=1)] != labels).mean())


def principal(points: np.ndarray, most: int = 10) -> np.ndarray:
    """Return the coordinates (n, min(most, ...)) of a cloud along its first principal directions."""
    centred = points - points.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    return (left * sizes)[:, :most]


def _triangles(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    i, j = np.triu_indices(n, 1)
    later = np.arange(n)[None, :] > j[:, None]
    pair, k = np.nonzero(later)
    return i[pair], j[pair], k


def _tree(first: np.ndarray, second: np.ndarray, n: int) -> np.ndarray:
    """Return which edges, in the order of their length, join two pieces."""
    parent, joins = list(range(n)), np.zeros(len(first), bool)

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for edge, (i, j) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        i, j = root(i), root(j)
        joins[edge], parent[i] = i != j, j
    return joins


def _columns(sides: np.ndarray, edges: int) -> list[int]:
    """Return one bit set of triangles an edge; bit k is row k of ``sides`` (triangles, 3)."""
    columns = []
    order = np.argsort(sides.ravel(), kind="stable")
    where, owner = order // 3, sides.ravel()[order]
    ends = np.searchsorted(owner, np.arange(edges + 1))
    size = len(sides) // 8 + 1
    for edge in range(edges):
        bits = np.zeros(8 * size, np.uint8)
        bits[where[ends[edge] : ends[edge + 1]]] = 1
        columns.append(int.from_bytes(np.packbits(bits, bitorder="little").tobytes(), "little"))
    return columns
