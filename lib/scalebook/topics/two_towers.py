"""A paired toy world and two ways to learn from it: by contrast alone, or by contrast and captions.

For Nezhurina et al. (2025, arXiv 2506.04598). An image is a random mixture of hidden attributes with noise, its caption
the list of them with some left out. Forward and backward pass are written out in numpy. Shapes: S networks in the stack
(one a seed), B batch, W width, K attributes, P pixels, E embedding.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scalebook.topics.sparse_students import adam_step

ATTRIBUTES, PIXELS, EMBEDDING = 48, 64, 32
PRESENT = 6.0  # attributes in an image on average
DROPPED = 0.2  # share of the attributes that a caption leaves out
NOISE = 1.0  # of each pixel; the signal of one attribute has unit variance over pixels
BATCH = 128
SHARPNESS = 10.0  # inverse temperature of the contrast
PROCEDURES = ("contrast", "contrast and captions")  # captions: nats per attribute present, weight 1 like the contrast


def frequencies() -> np.ndarray:
    """Return how often each attribute is present (K,): Zipf with exponent 0.8, scaled to `PRESENT` on average."""
    p = np.arange(1, ATTRIBUTES + 1) ** -0.8
    return np.minimum(p * PRESENT / p.sum(), 0.9)


def layer_sizes(procedure: str, width: int) -> dict[str, list[int]]:
    """Return the layers of each part; the captioner is as wide as makes it half of the arithmetic of a step."""
    towers = {"image": [PIXELS, width, width, EMBEDDING], "text": [ATTRIBUTES, width, EMBEDDING]}
    if procedure == PROCEDURES[0]:
        return towers
    hidden = max(1, round(_step_flops(towers) / (6 * BATCH * (EMBEDDING + ATTRIBUTES))))
    return towers | {"caption": [EMBEDDING, hidden, ATTRIBUTES]}


def step_flops(procedure: str, width: int) -> int:
    """Return the arithmetic of one training step: 6 per weight and sample, and the products between embeddings."""
    return _step_flops(layer_sizes(procedure, width))


def _step_flops(layers: dict[str, list[int]]) -> int:
    weights = sum(a * b for sizes in layers.values() for a, b in zip(sizes, sizes[1:]))
    return 6 * BATCH * weights + 6 * BATCH * BATCH * EMBEDDING


class Net:
    """A stack of fully connected networks with rectified hidden layers, trained by Adam."""

    def __init__(self, sizes: Sequence[int], rngs: Sequence[np.random.Generator]):
        self.values: list[np.ndarray] = []
        for a, b in zip(sizes, sizes[1:]):
            gain = np.sqrt((1 if b == sizes[-1] else 2) / a)
            self.values.append(np.stack([gain * rng.standard_normal((a, b)) for rng in rngs]).astype(np.float32))
            self.values.append(np.zeros((len(rngs), 1, b), dtype=np.float32))
        self._first = [np.zeros_like(v) for v in self.values]
        self._second = [np.zeros_like(v) for v in self.values]

    def forward(self, x: np.ndarray) -> list[np.ndarray]:
        """Return the input and the output of every layer, the last one without rectification; x is (S, B, in)."""
        outputs = [x]
        for k in range(0, len(self.values), 2):
            out = outputs[-1] @ self.values[k] + self.values[k + 1]
            outputs.append(np.maximum(out, 0) if k + 2 < len(self.values) else out)
        return outputs

    def backward(self, outputs: list[np.ndarray], down: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """Return the gradients of all values and of the input, for the gradient ``down`` of the last output."""
        gradients: list[np.ndarray] = []
        for k in range(len(self.values) - 2, -1, -2):
            below = outputs[k // 2]
            gradients = [below.swapaxes(1, 2) @ down, down.sum(axis=1, keepdims=True), *gradients]
            down = down @ self.values[k].swapaxes(1, 2)
            if k:
                down *= below > 0
        return gradients, down

    def step(self, gradients: list[np.ndarray], rate: float, count: int) -> None:
        """Take Adam's step number ``count`` (from 1); the gradients are used up."""
        for v, g, m, s in zip(self.values, gradients, self._first, self._second):
            adam_step(v, g, m, s, rate, count)


def contrast(image: np.ndarray, text: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the symmetric InfoNCE loss of each network (S,) and its gradients for both embeddings (S, B, E)."""
    unit, norms = zip(*(_normalised(each) for each in (image, text)))
    logits = SHARPNESS * unit[0] @ unit[1].swapaxes(1, 2)  # (S, B, B)
    logits -= logits.max(axis=(1, 2), keepdims=True)
    weights = np.exp(logits)
    rows, columns = (weights / weights.sum(axis=axis, keepdims=True) for axis in (2, 1))
    count = image.shape[1]
    own = np.arange(count)
    loss = -(np.log(rows[:, own, own]) + np.log(columns[:, own, own])).mean(axis=1) / 2
    pull = (rows + columns) / 2
    pull[:, own, own] -= 1
    pull *= SHARPNESS / count
    to_unit = (pull @ unit[1], pull.swapaxes(1, 2) @ unit[0])
    back = [(g - u * (g * u).sum(axis=2, keepdims=True)) / n for g, u, n in zip(to_unit, unit, norms)]
    return loss, back[0], back[1]


def caption_loss(logits: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean cross-entropy of all attributes (S,), nats, and its gradient for the logits (S, B, K)."""
    guess = 1 / (1 + np.exp(-logits))
    loss = (np.logaddexp(0, logits) - present * logits).mean(axis=(1, 2))
    return loss, (guess - present) / (logits.shape[1] * logits.shape[2])


class World:
    """The hidden mixtures of each seed, and what they draw; every seed has a world of its own."""

    def __init__(self, rngs: Sequence[np.random.Generator]):
        self.rngs = list(rngs)
        self.mix = np.stack([rng.standard_normal((ATTRIBUTES, PIXELS)) for rng in rngs]).astype(np.float32)

    def draw(self, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return images (S, count, P), attributes (S, count, K) and captions (S, count, K), the last two of 0 and 1."""
        p = frequencies()
        there = np.stack([rng.random((count, ATTRIBUTES)) < p for rng in self.rngs])
        told = there & np.stack([rng.random((count, ATTRIBUTES)) >= DROPPED for rng in self.rngs])
        noise = np.stack([rng.standard_normal((count, PIXELS), dtype=np.float32) for rng in self.rngs])
        mean = np.einsum("k,skp->sp", p, self.mix)[:, None]
        return there.astype(np.float32) @ self.mix - mean.astype(np.float32) + NOISE * noise, there, told


def attribute_error(nets: dict[str, Net], images: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Return the zero-shot error of each network (S,), a probability.

    How often an image that has an attribute lies further from the prompt that names it alone than an image that lacks
    it does: one minus the area under the curve, averaged over attributes.
    """
    image = _normalised(nets["image"].forward(images)[-1])[0]
    prompts = np.broadcast_to(np.eye(ATTRIBUTES, dtype=np.float32), (len(images), ATTRIBUTES, ATTRIBUTES))
    text = _normalised(nets["text"].forward(prompts)[-1])[0]
    ranks = (image @ text.swapaxes(1, 2)).argsort(axis=1).argsort(axis=1) + 1.0  # (S, images, K)
    having = there.sum(axis=1)
    lacking = there.shape[1] - having
    area = ((ranks * there).sum(axis=1) - having * (having + 1) / 2) / (having * lacking)
    return 1 - area.mean(axis=1)


def learning_curve(
    procedure: str, width: int, samples: Sequence[int], rngs: Sequence[np.random.Generator], rate: float
) -> np.ndarray:
    """Train one network a seed at a constant rate; return its error after each number of samples (seed, point)."""
    world = World(rngs)
    test = World(rngs)
    test.mix = world.mix
    images, there, _ = test.draw(2000)
    nets = {name: Net(sizes, rngs) for name, sizes in layer_sizes(procedure, width).items()}
    marks, errors = [round(count / BATCH) for count in samples], []
    for count in range(1, max(marks) + 1):
        x, _, told = world.draw(BATCH)
        told = told.astype(np.float32)
        seen, read = nets["image"].forward(x), nets["text"].forward(told)
        _, to_image, to_text = contrast(seen[-1], read[-1])
        if "caption" in nets:
            written = nets["caption"].forward(seen[-1])
            own, down = nets["caption"].backward(written, caption_loss(written[-1], told)[1] * (ATTRIBUTES / PRESENT))
            nets["caption"].step(own, rate, count)
            to_image = to_image + down
        nets["image"].step(nets["image"].backward(seen, to_image)[0], rate, count)
        nets["text"].step(nets["text"].backward(read, to_text)[0], rate, count)
        if count in marks:
            errors.append(attribute_error(nets, images, there))
    return np.stack(errors, axis=1)


def _normalised(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    norm = np.sqrt((x**2).sum(axis=2, keepdims=True)) + np.float32(1e-6)
    return x / norm, norm
