"""Ticks that read as plain numbers (10, 20, 50, 100), for figures and explorers alike."""

from __future__ import annotations

import math

import numpy as np

WIDE = 3.3  # decades from which only powers of ten are labelled: three of data and the margins of the axis
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
STEPS = (  # ticks within a decade, by the largest number of decades that they suit
    (0.35, (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)),
    (0.7, (1, 1.5, 2, 3, 4, 5, 7)),
    (1.3, (1, 2, 3, 5, 7)),
    (2.25, (1, 2, 5)),
    (WIDE, (1, 3)),
)


def tick_text(value: float) -> str:
    """Return a number as a reader would write it: 0.02, 50, 2 × 10⁶, 10⁻⁸, with a true minus sign."""
    if value == 0:
        return "0"
    if 1e-4 <= abs(value) < 1e5:
        return f"{value:.6g}".replace("-", "−") if abs(value) >= 1e-3 else f"{value:.6f}".rstrip("0").replace("-", "−")
    exponent = math.floor(math.log10(abs(value)) + 1e-9)
    mantissa = round(value / 10.0**exponent, 2)
    return f"{power_text(exponent, mantissa)}"


def power_text(exponent: int, mantissa: float = 1) -> str:
    """Return mantissa times a power of ten with a raised exponent; a mantissa of 1 is left out."""
    power = "10" + str(exponent).translate(SUPERSCRIPTS)
    front = {1: "", -1: "−"}.get(mantissa, f"{mantissa:g} × ".replace("-", "−"))
    return front + power


def log_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Return (value, label) on a logarithmic axis: plain numbers up to three decades, powers of ten beyond."""
    decades = math.log10(high / low)
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    if decades > WIDE:
        every = max(1, math.ceil(decades / 7))
        return [
            (10.0**k, power_text(k)) for k in range(first, last + 1) if k % every == 0 and _inside(10.0**k, low, high)
        ]
    steps = next(steps for widest, steps in STEPS if decades <= widest)
    values = [step * 10.0**k for k in range(first, last + 1) for step in steps]
    return [(value, tick_text(value)) for value in values if _inside(value, low, high)]


def linear_ticks(low: float, high: float, about: int = 5) -> list[tuple[float, str]]:
    """Return (value, label) on a linear axis at steps of 1, 2, 2.5 or 5 times a power of ten."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    values = np.arange(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1) * step
    return [(float(value), tick_text(round(float(value), 12))) for value in values]


def _inside(value: float, low: float, high: float) -> bool:
    return low * (1 - 1e-9) <= value <= high * (1 + 1e-9)
