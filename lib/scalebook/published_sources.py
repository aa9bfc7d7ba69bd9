"""Reading published tables at their source: a public repository at a fixed commit, one small reader for each format.

Only what is needed is loaded, and nothing is run: text, JSON and parquet. Sources that are pickles or photographs of
other formats have no reader; their tables are had from a mirror only.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from scalebook.errors import DataNotHere

if TYPE_CHECKING:
    import pandas as pd

    from scalebook.published import Source

SECONDS = 20  # a source that says nothing for so long is not there
_silent: set[str] = set()
GADRE_SETS = (
    "openlm", "c4_val", "paloma_c4_en", "paloma_dolma_100_programing_languages", "paloma_falcon_refinedweb", "paloma_ptb",
    "paloma_redpajama", "de_en",
)  # fmt: skip
RENAMED = {  # how the sources call their columns: how the registry does
    "Model Size": "params", "Training FLOP": "flops", "Training Tokens": "tokens",
    "Metrics/loss": "loss", "_step": "step", "learning_rate": "lr",
}  # fmt: skip


def read(source: Source) -> pd.DataFrame:
    """Download and convert one table. Raises DataNotHere when it has no reader or the source does not answer."""
    if source.reader is None:
        raise DataNotHere("its source has no reader here, so only a mirror has it")
    if os.environ.get("SCALEBOOK_OFFLINE"):
        raise DataNotHere("SCALEBOOK_OFFLINE is set, so its source was not asked")
    try:
        return READERS[source.reader](source)
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise DataNotHere(f"its source could not be read ({type(error).__name__}: {error})"[:200]) from error


def addresses(source: Source) -> list[str]:
    """Return the address of each file: the one of the path, or one for each name in place of its braces or star."""
    if not source.files:
        return [_quoted(source.url)]
    head, _, tail = source.url.partition("{")
    if tail:
        return [_quoted(head + name + tail.partition("}")[2]) for name in source.files]
    folder = source.url.partition("*")[0]
    return [_quoted(folder + name) for name in source.files]


def _quoted(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{urllib.parse.quote(rest, safe='/=')}"


def _get(url: str) -> bytes:
    host = urllib.parse.urlsplit(url).hostname or ""
    if host in _silent:
        raise OSError(f"{host} did not answer before")
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as answer:
            return answer.read()
    except urllib.error.HTTPError:
        raise  # it answered, only not with this file
    except OSError:
        _silent.add(host)  # without a network, one wait is enough
        raise


def _each(source: Source) -> Iterator[tuple[str, bytes]]:
    names = source.files or [source.path.rpartition("/")[2]]
    for name, url in zip(names, addresses(source), strict=True):
        yield name, _get(url)


def _csv(data: bytes) -> pd.DataFrame:
    import pandas as pd

    return pd.read_csv(io.BytesIO(data))


def _plain(source: Source) -> pd.DataFrame:
    """Read one csv file; a first column without a name is a row number and is left out."""
    (_, data), *_ = _each(source)
    frame = _csv(data)
    return frame.loc[:, [name for name in frame.columns if not str(name).startswith("Unnamed")]]


def _columns(source: Source) -> pd.DataFrame:
    """Read one csv file whose columns have other names, or another order, than the registry's."""
    return _plain(source).rename(columns=RENAMED)[["params", "flops", "tokens", "loss"]]


def _parquet(source: Source) -> pd.DataFrame:
    from scalebook.published import read_parquet

    (_, data), *_ = _each(source)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.parquet"
        path.write_bytes(data)
        return read_parquet(path)


def _jsonl_sets(source: Source) -> pd.DataFrame:
    """Read several files of one JSON object a line; the file's name becomes the first column, ``set``."""
    import pandas as pd

    parts = []
    for name, data in _each(source):
        rows = pd.DataFrame([json.loads(line) for line in data.decode().splitlines() if line.strip()])
        rows.insert(0, "set", name)
        parts.append(rows)
    return pd.concat(parts, ignore_index=True)


def _gadre(source: Source) -> pd.DataFrame:
    """Read the 104 models of Gadre et al. (2024): size, tokens and settings, losses on eight sets, accuracies."""
    import pandas as pd

    return pd.DataFrame([gadre_row(*(json.loads(_get(url)) for url in _gadre_pair(source, name))) for name in source.files])


def _gadre_pair(source: Source, name: str) -> tuple[str, str]:
    base = source.url.partition("exp_data/")[0] + "exp_data/"
    return _quoted(f"{base}models/{name}.json"), _quoted(f"{base}evals/evaluation_{name}_heavy.json")


def gadre_row(model: dict, evaluation: dict) -> dict[str, object]:
    """Return one row of the table from a model's record and its evaluation, numbers to seven digits as registered."""
    settings = model["hyperparameters"]
    row: dict[str, object] = {
        "name": model["name"], "dataset": model["dataset_name"], "params": settings["params"],
        "params_no_embed": settings["params_no_embed"], "tokens": settings["tokens"],
        "multiplier": settings["chinchilla_multiplier"], "lr": settings["lr"], "wd": settings["wd"],
        "warmup": settings["warmup"], "batch_size": settings["global_bs"],
    }  # fmt: skip
    for name, result in zip(GADRE_SETS, model["results"], strict=True):
        row[f"loss_{name}"] = float(f"{result['loss']:.7g}")
    for name, value in evaluation["eval_metrics"]["icl"].items():
        row[f"acc_{name}"] = float(f"{value:.7g}")
    return row


def _annealing(source: Source) -> pd.DataFrame:
    """Read the curves of Luo et al. (2025): folders by size in millions of parameters, a file for each schedule."""
    import pandas as pd

    parts = []
    for name, data in _each(source):
        curve = _csv(data).rename(columns=RENAMED)[["step", "lr", "loss"]]
        size, _, schedule = name.removesuffix(".csv").partition("/")
        curve.insert(0, "schedule", schedule)
        curve.insert(0, "params_millions", int(size.rpartition("_")[2]))
        parts.append(curve)
    return pd.concat(parts, ignore_index=True)


READERS: dict[str, Callable[[Source], pd.DataFrame]] = {
    "same bytes": _plain, "csv": _plain, "columns": _columns, "parquet": _parquet, "jsonl sets": _jsonl_sets,
    "gadre": _gadre, "annealing": _annealing,
}  # fmt: skip
