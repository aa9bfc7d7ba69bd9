"""Regression with several outputs: what is left of the last layer's features, and what a fresh readout makes of them.

Shape code: n points, D inputs, H features, O outputs.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from scalebook.ensemble import Parameters

INPUTS, OUTPUTS = 16, 4
PYTORCH_GAIN = 1 / math.sqrt(3)  # weights of PyTorch's linear layers have variance 1/(3 fan-in)


def teacher(rng: np.random.Generator, samples: int, linear: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return inputs (samples, 16), clean standardised targets (samples, 4) and unit noise of their shape.

    y = B tanh(1.5 A x), with Gaussian A and B of variance 1/16, or without the tanh; x is N(0, 1).
    """
    first = rng.standard_normal((INPUTS, INPUTS)) / math.sqrt(INPUTS)
    second = rng.standard_normal((INPUTS, OUTPUTS)) / math.sqrt(INPUTS)
    x = rng.standard_normal((samples, INPUTS))
    bent = 1.5 * x @ first
    y = (bent if linear else np.tanh(bent)) @ second
    return x, (y - y.mean(axis=0)) / y.std(axis=0), rng.standard_normal((samples, OUTPUTS))


def last_hidden(parameters: Parameters, x: Tensor) -> Tensor:
    """Return the features behind the last ReLU (S, n, H) of stacked networks; x (n, D) or (S, n, D)."""
    h = x
    for layer in range(len(parameters) // 2 - 1):
        h = torch.relu(h @ parameters[f"w{layer}"] + parameters[f"b{layer}"])
    return h


def variance_outside(features: np.ndarray, outputs: int = OUTPUTS) -> float:
    """Return NRC1: the share of the variance of features (n, H) outside ``outputs`` principal directions."""
    sizes = np.linalg.svd(features - features.mean(axis=0), compute_uv=False) ** 2
    return float(sizes[outputs:].sum() / sizes.sum())


def refitted(features: np.ndarray, targets: np.ndarray, elsewhere: np.ndarray, cut: float = 1e-6) -> np.ndarray:
    """Return predictions (M, O) at features ``elsewhere`` (M, H) of a readout fitted by least squares to (n, H).

    With an intercept. Directions with less than ``cut`` of the largest singular value are rounding, and are left out.
    """
    centre, level = features.mean(axis=0), targets.mean(axis=0)
    readout = np.linalg.lstsq(features - centre, targets - level, rcond=cut)[0]
    return (elsewhere - centre) @ readout + level
