"""Errors that tell the reader what was given, what is allowed and what to do next."""

from __future__ import annotations


class ScalebookError(Exception):
    """Something of ours is broken or missing (a notebook, a register, the disk); the command exits with 1."""


class UserError(ScalebookError):
    """The call itself is off (unknown chapter, wrong type of parameter); the command exits with 2."""


class MeasurementError(ScalebookError):
    """A measurement cannot be judged: missing, not a number, infinite, or an interval the wrong way round."""


class DataNotHere(ScalebookError):
    """A published table is not on this machine and cannot be had; claims on it are "not run", which is no failure."""


def explain(error: Exception) -> str:
    """Return what to tell a reader about any error: ours as they are, the system's with file and reason, the rest."""
    if isinstance(error, ScalebookError):
        return str(error)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}. Free space or fix the permissions there, then run it again."
    return (
        f"Something nobody foresaw: {type(error).__name__}: {error}. Nothing of yours is lost. Set SCALEBOOK_DEBUG=1 to "
        "see where it happened, and please report it."
    )
