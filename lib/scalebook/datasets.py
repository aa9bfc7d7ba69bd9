"""Data that is on every machine: sets that ship inside packages, generators, and Python's own standard library.

Nothing here touches the network but `published`, which may ask a published table's source when it is not here. `suite`
reads the book's own learning curves from the repository.
"""

from __future__ import annotations

import ast
import gzip
import importlib.util
import re
import sysconfig
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter1d

from scalebook.errors import DataNotHere, ScalebookError, UserError
from scalebook.paths import root

if TYPE_CHECKING:
    import pandas as pd

WORD = re.compile(r"[A-Za-z_]\w*")

# the ten strokes of MNIST-1D, twelve points each (Greydanus and Kobak 2020, arXiv 2011.14439)
STROKES = np.array([
    [5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5],
    [5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5],
    [5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5],
    [5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5],
    [5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5],
    [5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5],
    [5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5],
    [5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5],
    [5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5],
    [5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5],
])  # fmt: skip


@lru_cache(maxsize=1)
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Return 1797 handwritten digits, images (1797, 64) of 8x8 pixels from 0 to 1, and labels (1797,) from 0 to 9.

    The test part of "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak 1998, UCI repository, CC BY 4.0),
    read from scikit-learn's package without importing it, which saves a second. Both arrays are read-only.
    """
    found = importlib.util.find_spec("sklearn")
    if found is None or not found.submodule_search_locations:
        raise ScalebookError("The digits come with scikit-learn, which is not here; install this book's environment.")
    path = Path(found.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    with gzip.open(path, "rt", encoding="ascii") as lines:
        table = np.loadtxt(lines, delimiter=",", dtype=np.float32)
    images, labels = table[:, :-1] / 16, table[:, -1].astype(np.int64)
    images.flags.writeable = labels.flags.writeable = False
    return images, labels


def mnist1d(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw ``count`` curves (count, 40) in ten classes and their labels (count,).

    MNIST-1D with its default settings (Greydanus and Kobak 2020, arXiv 2011.14439): one of ten strokes, padded by 36 to
    60, scaled, moved, noised (smooth noise off the stroke, white noise everywhere), sheared, and sampled at 40 places.
    """
    if count < 1:
        raise UserError(f"mnist1d: {count} curves asked for; give at least 1.")
    strokes = STROKES - STROKES.mean(axis=1, keepdims=True)
    strokes /= strokes.std(axis=1, keepdims=True)
    strokes = (strokes - strokes[:, :1]) / 6
    labels = rng.permutation(np.arange(count) % 10)
    length = 72  # 12 points of a stroke and the longest padding
    place = np.linspace(0, 1, length)
    curves = np.empty((count, length))
    for row, (label, pad, move) in enumerate(
        zip(labels, rng.integers(36, 61, count), rng.integers(0, 48, count), strict=True)
    ):
        padded = np.concatenate([strokes[label] + 1e-8, np.zeros(pad)])
        curves[row] = np.roll(np.interp(place, np.linspace(0, 1, len(padded)), padded), move)
    curves *= 1 + 0.4 * (rng.random((count, 1)) - 0.5)
    smooth = gaussian_filter1d(0.25 * rng.standard_normal((count, length)), 2, axis=1)
    curves = np.where(curves == 0, smooth, curves) + 0.02 * rng.standard_normal((count, length))
    curves -= 0.75 * (rng.random((count, 1)) - 0.5) * np.linspace(-0.5, 0.5, length)
    ends = np.linspace(0, 1, 40)
    return np.stack([np.interp(ends, place, curve) for curve in curves]).astype(np.float32), labels


def library_source(package: str) -> str:
    """Return the source text of one package or module of the running Python's standard library, its tests left out.

    Files are joined in the order of their paths. Raises UserError when this Python does not have it as source.
    """
    home = Path(sysconfig.get_paths()["stdlib"])
    files: list[Path] = []
    if re.fullmatch(r"\w+", package):
        module = home / f"{package}.py"
        files = [module] if module.is_file() else sorted((home / package).rglob("*.py"))
    files = [file for file in files if not {"test", "tests"} & set(file.relative_to(home).parts)]
    if not files:
        raise UserError(f"The standard library of this Python has no source of {package!r}.")
    return "\n".join(file.read_text(encoding="utf-8", errors="replace") for file in files)


def docstrings(source: str) -> str:
    """Return the docstrings of all classes and functions in a source text, and of its first module, in order."""
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = [ast.get_docstring(node) for node in ast.walk(ast.parse(source)) if isinstance(node, owners)]
    return "\n".join(filter(None, found))


def words(text: str) -> list[str]:
    """Return the words of a text in order: runs of letters, digits and underscores that start with no digit."""
    return WORD.findall(text)


def published(key: str) -> pd.DataFrame:
    """Return a raw table that a paper has published, by its key in ``data/published.yml`` (``paper/table``).

    Read from ``$SCALEBOOK_MIRROR``, an earlier download, or its source, and compared with the registered content.
    Raises UserError for an unknown key and DataNotHere, saying what was tried, when no good copy can be had.
    """
    from scalebook.published import load

    return load(key)


def suite(*blocks: str) -> pd.DataFrame:
    """Return the curves of whole blocks of the book's own model suite, one row for each logged point.

    ``blocks`` are letters, as in ``suite("L", "M")``: M size x tokens, L learning rate, S schedules, W weight decay, B
    batch, H shape, G larger sizes with a rate tuned at each, R repeated text. Rows are sorted by run and step. Columns, all described in data/suite/README.md:

    - what the curve is: ``run`` (its unique name; a trunk and each of its cooled branches are curves of their own),
      ``block``, ``size``, ``seed``, ``schedule`` (constant, cooled, linear0, cosine0, cosine10), ``arm``, ``stack``;
    - the model: ``d``, ``L``, ``heads``, ``n_nonemb`` and ``n_total`` (parameters);
    - how it is trained: ``batch`` (tokens a step), ``lr_peak``, ``wd``, ``budget`` (planned tokens), ``steps``;
    - the point: ``step``, ``tokens`` (read so far, one byte each), ``flops_nonemb``, ``flops_head``,
      ``flops_attention`` (FLOP so far, counted three ways), ``lr_now``, ``s1`` (sum of learning rates so far);
    - losses in nats a byte: ``val`` at every point; ``val2``, ``val2a``, ``val2b``, ``ood1``, ``ood2`` and ``train``
      NaN where not measured. A run that blew up has NaN or inf in ``val``.

    Raises UserError for an unknown block, and DataNotHere, saying what is missing and what to do, unless every planned
    curve of these blocks is in the table: half a block would give another answer, not half of one.
    """
    import pandas as pd

    from scalebook.suite.plan import BLOCKS, jobs, runs

    unknown = [block for block in blocks if block not in BLOCKS]
    if unknown or not blocks:
        raise UserError(f"suite: block {', '.join(unknown) or 'none'} asked for; choose among {', '.join(BLOCKS)}.")
    path = root() / "data" / "suite" / "microscale.csv.gz"
    kinds = dict.fromkeys(("run", "block", "size", "schedule", "arm", "stack"), str) | {"wd": float}
    numbers = {"keep_default_na": False, "na_values": ["", "nan"]}
    table = pd.read_csv(path, dtype=kinds, **numbers) if path.is_file() else None
    here = set() if table is None else set(table["run"])
    lacking = []
    for block in dict.fromkeys(blocks):
        planned = runs([job for job in jobs() if job.block == block])
        if there := len(planned) - len(here & set(planned)):
            lacking.append(f"block {block} lacks {there} of {len(planned)} curves")
    if lacking:
        raise DataNotHere(
            f"The model suite is not complete here: {', '.join(lacking)}. `scalebook suite` trains what is missing and "
            "`scalebook suite --merge` adds it to data/suite."
        )
    return table[table["block"].isin(blocks)].fillna({"arm": ""}).reset_index(drop=True)
