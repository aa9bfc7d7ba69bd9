"""A folder that is assembled file by file: written only where bytes differ, swept of what no longer belongs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from scalebook.paths import atomic_write

# what every page loads, besides the theme's own
SITE_STYLES = ("cards.css", "site.css")
SITE_SCRIPTS = ("book.js",)


@dataclass
class Stage:
    """A folder being assembled; remembers what belongs to it."""

    folder: Path
    kept: set[Path] = field(default_factory=set)

    def write(self, name: str, content: str | bytes) -> None:
        """Put a file into the stage unless it is there already with the same bytes."""
        path = self.folder / name
        data = content.encode("utf-8") if isinstance(content, str) else content
        self.kept.add(path)
        if not (path.is_file() and path.read_bytes() == data):
            atomic_write(path, data)

    def copy(self, name: str, source: Path) -> None:
        """Copy a file into the stage."""
        self.write(name, source.read_bytes())

    def sweep(self) -> None:
        """Remove files that this assembly did not write, and folders left empty."""
        for path in sorted(self.folder.rglob("*"), reverse=True):
            if path.is_file() and path not in self.kept:
                path.unlink()
            elif path.is_dir() and not any(path.iterdir()):
                path.rmdir()

    def digest(self) -> str:
        """Return a checksum of everything in the stage."""
        total = hashlib.sha256()
        for path in sorted(self.kept):
            total.update(path.relative_to(self.folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
        return total.hexdigest()


@dataclass(frozen=True)
class Figures:
    """The figure files of one run: which there are, how large they are, which form of a picture is lighter."""

    folder: Path

    def has(self, name: str) -> bool:
        """Tell whether the run wrote this file."""
        return (self.folder / name).is_file()

    def drawing(self, name: str) -> str | None:
        """Return the vector form of a PNG file, None where the run wrote none."""
        found = f"{name.removesuffix('.png')}.svg"
        return found if name.endswith(".png") and self.has(found) else None

    def lighter(self, name: str) -> str:
        """Return the form of a picture that is quicker to load: the drawing unless it is larger than the PNG."""
        drawing = self.drawing(name)
        if drawing is None or (self.folder / drawing).stat().st_size > (self.folder / name).stat().st_size:
            return name
        return drawing

    def pixels(self, name: str) -> tuple[int, int]:
        """Return width and height of a PNG file."""
        with open(self.folder / name, "rb") as file:
            head = file.read(24)
        return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
