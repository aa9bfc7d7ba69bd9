"""How Things Scale: the library behind the book.

The names below are loaded on first use, so that the command line starts fast and a chapter depends only on the modules
it names. Everything else is imported from its module (``from scalebook.explorer import explorer``).
"""

from __future__ import annotations

import importlib

_EXPORTS = {
    "Chapter": "scalebook.chapter",
    "Estimate": "scalebook.estimate",
    "check": "scalebook.exercises",
    "fit": "scalebook.fitting",
}


def __getattr__(name: str) -> object:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'scalebook' has no attribute '{name}'; it offers {', '.join(sorted(_EXPORTS))}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted(_EXPORTS)
