"""RAW, whatever holds it: a folder, a ZIP, a TAR or an object store, listed once and read through one door."""

import io
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from geocamnet.errors import DataError
from geocamnet.images import IMAGE_SUFFIXES, RgbImage, read_image_stream
from geocamnet.stores import is_file, list_store, read_store, shown, url_of
from geocamnet.train.archives import Member, Reader, archive_kind, list_archive

ARCHIVE_SUFFIXES = frozenset({".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".txz", ".7z", ".rar"})
TABLE_BYTES = 256 * 1024**2  # manifests, masks.json, COCO: far above any real one
_NO_UNICODE = "its name is not valid Unicode: rename the file"

_readers: dict[str, Reader] = {}  # of this process, by archive


@dataclass(frozen=True)
class RawFile:
    """One file of RAW.

    Attributes:
        path: below RAW, with ``/``.
        size_bytes: of the file.
        mtime_ns: when it was changed; of a file in an archive, when the archive was; 0 if a store does not tell.
        position: where an archive holds it; -1 elsewhere.
    """

    path: str
    size_bytes: int
    mtime_ns: int
    position: int = -1


@dataclass(frozen=True)
class Originals:
    """What RAW holds.

    Attributes:
        raw: the folder or archive, or a URL made a path.
        kind: ``folder``, ``store``, or as `archives.archive_kind` says.
        files: by path, hidden ones left out.
        refused: (path, reason) of what is no file that may be read.
    """

    raw: Path
    kind: str
    files: dict[str, RawFile]
    refused: tuple[tuple[str, str], ...]
    images: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        images = (path for path in self.files if PurePosixPath(path).suffix.lower() in IMAGE_SUFFIXES)
        object.__setattr__(self, "images", tuple(sorted(images, key=lambda path: PurePosixPath(path).parts)))

    @property
    def name(self) -> str:
        """What RAW is called: the folder's name, or the archive's without ``.zip`` or ``.tar.gz``."""
        return self.raw.resolve().name if self.kind in ("folder", "store") else _own_name(self.raw)

    @property
    def licence(self) -> str:
        """Name of the file beside the photographs that states a licence, or nothing."""
        return next((path for path in self.files if path.upper().startswith(("LICENSE", "LICENCE"))), "")

    def place(self, path: str = "") -> str:
        """Return what messages call RAW, or a file of it."""
        return shown(self.raw / path)

    def read(self, path: str) -> bytes:
        """Return the content of a table or description.

        Raises:
            DataError: not there, too large for what it is, or it can't be read.
            SourceError: the store that holds it can't be used.
        """
        file = self.files.get(path)
        if file is None:
            raise DataError(f"{self.place()}: there is no {path} in it.")
        if file.size_bytes > TABLE_BYTES:
            raise DataError(f"{self.place(path)}: {file.size_bytes:,} bytes are too many for a table.")
        try:
            with open_raw(self.raw, file, role="tables") as stream:
                return stream.read()
        except OSError as error:
            raise DataError(f"{self.place(path)}: can't be read ({error.strerror or error}).") from error
        except DataError as error:
            raise DataError(f"{self.place(path)}: {error}") from error


def open_originals(raw: Path) -> Originals:
    """List RAW: a folder, a ZIP, a TAR, or a place in an object store.

    An archive that holds nothing but a folder of its own name (``photos.zip`` with ``photos/``) is read as that
    folder. Archives inside RAW are refused: each is to be prepared by itself.

    Args:
        raw: folder, archive or URL; it is only read.

    Raises:
        DataError: not there, no archive that can be read, or no photograph in it.
        SourceError: the store can't be used.
    """
    if url := url_of(raw):
        kind = "store"
        files, refused = _list_place(url)
    elif raw.is_dir():
        kind = "folder"
        files, refused = _list_folder(raw)
    elif raw.is_file():
        kind = archive_kind(raw)
        listing = list_archive(raw, kind)
        mtime_ns = raw.stat().st_mtime_ns
        members = _below_own_name(listing.members, raw)
        files = [RawFile(one.path, one.size_bytes, mtime_ns, one.position) for one in members]
        refused = listing.refused
    else:
        raise DataError(f"{raw}: no such {'file' if raw.suffix.lower() in ARCHIVE_SUFFIXES else 'folder'}.")
    inner = [one.path for one in files if PurePosixPath(one.path).suffix.lower() in ARCHIVE_SUFFIXES]
    refused += [(path, "is an archive, and is not looked into: prepare it by itself, or unpack it") for path in inner]
    found = Originals(
        raw, kind, {one.path: one for one in sorted(files, key=lambda one: one.path)}, tuple(sorted(refused))
    )
    if not found.images:
        told = "".join(f" {path}: {reason}." for path, reason in found.refused[:3])
        wanted = ", ".join(sorted(IMAGE_SUFFIXES))
        raise DataError(f"{found.place()}: no photograph found in it or below it. Looked for {wanted}.{told}")
    return found


def open_raw(raw: Path, file: RawFile, *, role: str = "photographs") -> BinaryIO:
    """Open one file of RAW for reading, in any process; `close_archives` closes what it keeps open.

    Args:
        raw: the folder or archive, or a URL made a path.
        file: as `open_originals` listed it.
        role: what is read in order of its own, such as ``"masks"``; see `Reader.read`.

    Raises:
        DataError: it can't be read out of its archive. The text does not name the file.
        SourceError: its store can't be used.
        OSError: a file of a folder can't be opened.
    """
    if url := url_of(raw):
        return io.BytesIO(read_store(f"{url}/{file.path}", size_bytes=file.size_bytes))
    if file.position < 0:
        return (raw / file.path).open("rb")
    if str(raw) not in _readers:
        _readers[str(raw)] = Reader(raw)
    return io.BytesIO(_readers[str(raw)].read(file.position, file.size_bytes, role=role))


def read_original(raw: Path, file: RawFile) -> RgbImage:
    """Return a photograph of RAW as RGB uint8 (H, W, 3), upright.

    Raises:
        DataError: it can't be read. The text begins with its path.
        SourceError: its store can't be used.
    """
    try:
        with open_raw(raw, file) as stream:
            return read_image_stream(stream, file.path)
    except OSError as error:
        raise DataError(f"{file.path}: can't be read ({error.strerror or error}).") from error


def close_archives() -> None:
    """Close the archives that this process keeps open."""
    while _readers:
        _readers.popitem()[1].close()


def _list_place(url: str) -> tuple[list[RawFile], list[tuple[str, str]]]:
    if PurePosixPath(url).suffix.lower() in ARCHIVE_SUFFIXES and is_file(url):
        raise DataError(
            f"{url}: an archive is not read out of a store, where each process would fetch all of it. Copy it to this "
            "machine first, or unpack it into the store."
        )
    files, refused = list_store(url)
    return [RawFile(one.path, one.size_bytes, one.mtime_ns) for one in files], refused


def _list_folder(raw: Path) -> tuple[list[RawFile], list[tuple[str, str]]]:
    files, refused = [], []
    for place in _walk(raw):
        path = place.relative_to(raw).as_posix()
        try:
            path.encode("utf-8")
            state = place.stat()
        except UnicodeEncodeError:
            refused.append((path.encode("utf-8", "replace").decode(), _NO_UNICODE))
        except OSError as error:
            refused.append((path, f"can't be read ({error.strerror or error})"))
        else:
            if stat.S_ISREG(state.st_mode):
                files.append(RawFile(path, state.st_size, state.st_mtime_ns))
            else:
                refused.append((path, "is no file"))  # to open a pipe would wait for ever
    return files, refused


def _walk(root: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:  # os.walk alone would leave the folder out without a word
        raise DataError(f"{error.filename}: the folder can't be listed ({error.strerror or error}).") from error

    for folder, folders, names in os.walk(root, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(folder, name) for name in names if not name.startswith("."))


def _own_name(archive: Path) -> str:
    own = archive.name
    while PurePosixPath(own).suffix.lower() in ARCHIVE_SUFFIXES:
        own = PurePosixPath(own).stem
    return own


def _below_own_name(members: list[Member], archive: Path) -> list[Member]:
    own = _own_name(archive)
    if not all(one.path.startswith(f"{own}/") for one in members):
        return members
    return [one._replace(path=one.path.removeprefix(f"{own}/")) for one in members]
