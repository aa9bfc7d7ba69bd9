"""Errors that tell the reader what was given, what is allowed and what to do next."""

from __future__ import annotations


class ScalebookError(Exception):
    """Something of ours is broken or missing (a notebook, a register, the disk); the command exits with 1."""


class UserError(ScalebookError):
    """The call itself is off (unknown chapter, wrong type of parameter); the command exits with 2."""


class MeasurementError(ScalebookError):
    """A measurement cannot be judged: missing, not a number, infinite, or an interval the wrong way round."""
