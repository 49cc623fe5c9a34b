"""What a layout makes of RAW: photographs with what is known of each, and what was concluded on the way."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from unicodedata import normalize

from geocamnet.errors import DataError
from geocamnet.taxonomy import CLASSES

KNOWN_CLASSES = frozenset(rock.name for rock in CLASSES)


@dataclass(frozen=True)
class Shape:
    """An outline drawn by hand, which becomes part of a mask.

    Attributes:
        value: 1 to C, the class in the order of `Reading.mask_classes`.
        polygon: x, y, x, y … in pixels of the original; or empty.
        runs: pixels outside and inside in turn, down the columns (uncompressed COCO run lengths); or empty.
        size_hw: height and width of the original in pixels.
    """

    value: int
    polygon: tuple[float, ...]
    runs: tuple[int, ...]
    size_hw: tuple[int, int]


@dataclass(frozen=True)
class RawPhotograph:
    """One photograph as RAW tells it.

    Attributes:
        path: below RAW, with ``/``.
        labels: canonical class names, sorted; empty where unknown.
        section: the thin section; empty where unknown.
        field: the view; the PPL and XPL photographs of one view share it.
        light: ``PPL``, ``XPL``, ``R`` or empty.
        um_per_px: micrometres a pixel of the file as it is, None where unknown.
        split: ``train``, ``val`` or ``test`` where RAW says so, else empty.
        mask: path of its class mask below RAW, or empty.
        shapes: outlines to draw a class mask of, where there is no file of one.
    """

    path: str
    labels: tuple[str, ...] = ()
    section: str = ""
    field: str = ""
    light: str = ""
    um_per_px: float | None = None
    split: str = ""
    mask: str = ""
    shapes: tuple[Shape, ...] = ()


@dataclass
class Reading:
    """What one layout makes of RAW, before sections and fields are worked out.

    Attributes:
        layout: its name.
        photographs: with labels.
        notes: what was concluded, in sentences.
        skipped: (path, reason) of photographs that can't be used.
        faults: what is wrong with the data set, in sentences.
        mask_classes: what the values of `Shape` mean.
    """

    layout: str
    photographs: list[RawPhotograph]
    notes: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    mask_classes: tuple[str, ...] = ()

    @property
    def only_known_classes(self) -> bool:
        """Whether every label is one of the 22."""
        return all(label in KNOWN_CLASSES for one in self.photographs for label in one.labels)


class Names:
    """Finds photographs by the names that tables give them, which seldom are their paths.

    Args:
        paths: of the photographs below RAW.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._path_of = {}
        self._by_stem: dict[str, list[tuple[str, ...]]] = {}
        for path in paths:
            parts = _parts(path)
            self._path_of[parts] = path
            self._by_stem.setdefault(PurePosixPath(parts[-1]).stem.lower(), []).append(parts)

    def find(self, name: str) -> tuple[str, str]:
        """Return the path that a name means and how it was found: by ``path`` or by ``name``; or "", why not.

        What is not there as it is written may be a bare file name, a name without its suffix, or the path on another
        computer: it is taken for the one photograph whose path agrees with it as far as both reach, from the end.
        """
        wanted = _parts(name)
        if wanted in self._path_of:
            return self._path_of[wanted], "path"
        last = wanted[-1].lower() if wanted else ""
        by_name = self._by_stem.get(PurePosixPath(last).stem, [])
        exact = [parts for parts in by_name if parts[-1].lower() == last and _agree(parts, wanted)]
        bare = [parts for parts in self._by_stem.get(last, []) if _agree(parts, wanted)]
        met = exact or bare
        if len(met) > 1:
            return "", f"{len(met)} photographs are called so: give the path below RAW"
        return (self._path_of[met[0]], "name") if met else ("", "not there")


def _parts(path: str) -> tuple[str, ...]:
    return PurePosixPath(normalize("NFC", path)).parts  # a Mac stores "é" as two characters


def _agree(parts: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    reach = min(len(parts), len(wanted))
    return parts[-reach:-1] == wanted[-reach:-1]


def decoded(content: bytes, encodings: Iterable[str] = ("utf-8-sig", "gb18030")) -> str | None:
    """Return what a file says by the first encoding that fits it; None where none does."""
    for encoding in encodings:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    return None


def checked_label(label: str, path: str) -> str:
    """Return a label that an index can hold.

    Raises:
        DataError: it is empty, or holds the sign that joins labels.
    """
    if not label or "|" in label:
        raise DataError(f"{path}: '{label}' can't be a class name (the sign | joins labels). Rename the folder.")
    return label


def spelling_notes(spelt: Iterable[tuple[str, str]]) -> list[str]:
    """Return a sentence for the (spelling, label) that differ by more than case and hyphens."""
    changed = sorted({pair for pair in spelt if re.sub(r"[\s_-]+", "_", pair[0].lower()) != pair[1]})
    return ["Read as: " + ", ".join(f"'{name}' as {label}" for name, label in changed) + "."] if changed else []
