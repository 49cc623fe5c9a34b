"""Places given as URL, such as s3://bucket/raw, in whatever store fsspec reaches: listed, read and written.

Paths are `pathlib.Path` everywhere, and ``Path("s3://bucket/raw")`` is ``s3:/bucket/raw``: `url_of` gives the URL back.
Credentials are the store's own affair, options such as another endpoint fsspec's: environment, configuration files.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from geocamnet.errors import DataError, GeocamnetError, SourceError, missing_extra

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")  # of more than one letter: D: is a drive
_PASSWORD = re.compile(r"//[^/]*:[^/]*@")
_UNUSUAL = re.compile(r"[\x00-\x1f\\\ud800-\udfff]")  # control signs, a backslash, what is no Unicode
_CHANGED = ("mtime", "LastModified", "last_modified", "modified", "updated", "created")  # each store has its own word
_OF_BUCKETS = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss"})  # which know no folders
_OF_EXTRA = {"s3": "s3fs", "s3a": "s3fs"}


@dataclass(frozen=True)
class StoreFile:
    """One file of a store: its path below the place listed, with ``/``; its size; when it was changed, or 0."""

    path: str
    size_bytes: int
    mtime_ns: int


def url_of(place: str | os.PathLike[str]) -> str:
    """Return the URL that a path was given as, empty for a path of this machine."""
    scheme, slash, below = Path(place).as_posix().partition("/")
    if not slash or not _SCHEME.fullmatch(scheme):
        return ""
    return f"file:///{below}" if scheme == "file:" else f"{scheme}//{below}"


def shown(place: str | os.PathLike[str]) -> str:
    """Return a place as a person gave it: its URL, or else its path."""
    return url_of(place) or str(place)


def from_anywhere(place: Path) -> str:
    """Return what names the same place in whatever folder a process runs: its URL, or else its absolute path."""
    return url_of(place) or str(place.absolute())


def list_store(url: str) -> tuple[list[StoreFile], list[tuple[str, str]]]:
    """List the files below a place; hidden ones are left out, as in a folder.

    Args:
        url: of a bucket or a folder in it; one that holds nothing, or is not there, has no files.

    Returns:
        The files, by path, and (path, reason) of those that can't be one of a folder's.

    Raises:
        DataError: no such bucket, an unknown kind of store, or a package is not installed.
        SourceError: the store can't be reached, or refuses.
    """
    with _told(url):
        store, root = _open(url)
        store.invalidate_cache()  # another machine may have written since
        found = store.find(root, detail=True)
    files, refused = [], []
    start = root.rstrip("/") + "/"
    for name, info in sorted(found.items()):
        path = name.removeprefix(start)
        if not name.startswith(start) or not path or path.endswith("/") or info.get("type", "file") != "file":
            continue  # the place itself, or an empty object that stands for a folder
        if reason := _refusal(path, info):
            refused.append((path.encode("utf-8", "replace").decode(), reason))
        elif not any(part.startswith(".") for part in path.split("/")):
            files.append(StoreFile(path, info["size"], _mtime_ns(info)))
    return files, refused


def is_file(url: str) -> bool:
    """Return whether a file lies at a URL.

    Raises:
        DataError, SourceError: as `list_store`.
    """
    with _told(url):
        store, path = _open(url)
        return bool(store.exists(path) and store.isfile(path))


def read_store(url: str, *, size_bytes: int | None = None) -> bytes:
    """Return the content of a file in a store, in any process: each opens the store by itself.

    Args:
        url: of the file.
        size_bytes: as it was listed, where it was.

    Raises:
        DataError: it is not there.
        SourceError: the store can't be reached, refuses, or gave another size than listed. Every file would fare so:
            a command stops, and goes on later.
    """
    with _told(url):
        store, path = _open(url)
        content = bytes(store.cat_file(path))
    if size_bytes is not None and len(content) != size_bytes:
        raise SourceError(
            f"{url}: {len(content):,} bytes came of {size_bytes:,} that were listed: it has been changed, or the "
            "connection was cut. Run the same command again: what is done is kept."
        )
    return content


def write_to_store(url: str, file: Path) -> None:
    """Put a file of this machine at a URL, in place of what is there.

    Raises:
        DataError: no such bucket.
        SourceError: the store can't be reached, or refuses.
    """
    with _told(url):
        store, path = _open(url)
        try:
            store.put_file(str(file), path)
        except FileNotFoundError:
            if url.partition("://")[0] in _OF_BUCKETS:
                raise
            store.makedirs(path.rpartition("/")[0], exist_ok=True)  # never of a store of buckets: it would make one
            store.put_file(str(file), path)


def remove_from_store(url: str) -> None:
    """Remove a file at a URL, if it is there.

    Raises:
        SourceError: the store can't be reached, or refuses.
    """
    with _told(url):
        store, path = _open(url)
        with suppress(FileNotFoundError):
            store.rm_file(path)


def _open(url: str) -> tuple[Any, str]:
    """Return the file system that a URL lies in, and its path there."""
    if _PASSWORD.search(url):
        raise DataError(
            "A URL with a password in it is not taken, for it would stand in tables and messages. Give the password "
            "in the environment or the store's own configuration file."
        )
    try:
        import fsspec
    except ImportError as error:
        raise DataError(missing_extra("fsspec", "store")) from error
    protocol = url.partition("://")[0]
    try:
        kind = fsspec.get_filesystem_class(protocol)
    except ValueError as error:
        raise DataError(f"{url}: unknown kind of store '{protocol}'. Usual ones: s3, gs, az, sftp.") from error
    except ImportError as error:
        hint = missing_extra(_OF_EXTRA[protocol], "store") if protocol in _OF_EXTRA else str(error)
        raise DataError(f"{url}: {hint}") from error
    return kind(**kind._get_kwargs_from_urls(url)), kind._strip_protocol(url)


@contextmanager
def _told(url: str) -> Iterator[None]:
    """Tell any error of a store in a sentence. Each store has its own kinds of them, many of no common ancestor."""
    try:
        yield
    except GeocamnetError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{url}: not there. Check the bucket's name and the path.") from error
    except PermissionError as error:
        raise SourceError(
            f"{url}: the store does not allow it ({_one_line(error)}). Check the credentials that it takes from the "
            "environment or its configuration file. The same command goes on: what is done is kept."
        ) from error
    except Exception as error:
        raise SourceError(
            f"{url}: the store can't be used ({_one_line(error)}). Check the network, its address and the credentials. "
            "The same command goes on: what is done is kept."
        ) from error


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def _refusal(path: str, info: Mapping[str, Any]) -> str:
    """Return why an object can't be a file of a folder, empty if it can: names in a store are any text."""
    parts = path.split("/")
    if ".." in parts:
        return "its name leads out of the folder"
    if "" in parts or "." in parts or _UNUSUAL.search(path):
        return "its name can't be one of a file on every system: rename it"
    if info.get("size") is None:
        return "the store does not tell its size"
    return ""


def _mtime_ns(info: Mapping[str, Any]) -> int:
    for name in _CHANGED:
        value = info.get(name)
        if isinstance(value, datetime):
            value = value.timestamp()
        if isinstance(value, (int, float)):
            return int(value * 1e9)
    return 0
