"""Results at a URL: made in a folder of this machine, and sent when all of them are there."""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path

from geocamnet.console import progress
from geocamnet.errors import DataError, GeocamnetError
from geocamnet.stores import StoreFile, list_store, read_store, remove_from_store, url_of, write_to_store

log = logging.getLogger("geocamnet")

_NOT_YET = -1  # in place of a time: begun, and perhaps cut off in the midst
_UNKNOWN = -2  # sent, and not listed since


@dataclass(frozen=True)
class _Sent:
    """A file that was sent: its size and time here, and its time there."""

    size_bytes: int
    mtime_ns: int
    there_ns: int

    def is_of(self, state: tuple[int, int]) -> bool:
        """Whether a file here, of this size and time, is the one that was sent."""
        return (self.size_bytes, self.mtime_ns) == state

    def is_what_lies_there(self, one: StoreFile) -> bool:
        """Whether what a store lists may be what this machine has put there."""
        if self.there_ns == _NOT_YET:
            return True
        return self.size_bytes == one.size_bytes and self.there_ns in (_UNKNOWN, one.mtime_ns)


@contextmanager
def made_for(out: Path, last: Sequence[str], *, source: Path, alone: bool) -> Iterator[Path]:
    """Yield the folder to write results into; where they are wanted at a URL, send them when the block ends well.

    That folder lies in this user's cache, the same one for the same URL, so that a command which was stopped goes on.
    Results that another machine has put there are fetched first. Only what is new or changed is sent; files named in
    ``last`` come last, and are taken away first where others change: whoever sees one sees all it speaks of.

    Args:
        out: where results are wanted; a folder of this machine is yielded as it is.
        last: files that say that all is there, in the order in which they are to come.
        source: what the results are made of.
        alone: this process alone writes into the folder.

    Raises:
        DataError: a share or cluster was asked for, OUT lies in the source, or holds something else or something newer
            than what this machine has sent.
        SourceError: the store can't be used.
    """
    url = url_of(out)
    if not url:
        yield out
        return
    if not alone:
        raise DataError(
            f"{url}: --shard and --engine ray need a folder that all machines write into, which a store is not. Name "
            "a folder, and copy it into the store when all is done."
        )
    if f"{url}/".startswith(f"{url_of(source)}/") and url_of(source):
        raise DataError(f"{url}: lies inside {url_of(source)}, whose files it is made of. Choose another place.")
    folder, record = _places(url)
    record.parent.mkdir(parents=True, exist_ok=True)
    _begin(url, folder, record, last)
    try:
        yield folder
    except GeocamnetError as error:
        raise type(error)(str(error).replace(str(folder), url)) from error
    _send(url, folder, record, last)


def _places(url: str) -> tuple[Path, Path]:
    """Return the folder in which the results for a URL are made, and the record of what was sent."""
    from geocamnet.runtime.kept import cache_folder

    below = (cache_folder() / "results").absolute()
    name = hashlib.sha256(url.encode()).hexdigest()[:16]
    return below / name, below / f"{name}.jsonl"


def _begin(url: str, folder: Path, record: Path, last: Sequence[str]) -> None:
    """Bring the folder to where it can go on from what lies at the URL."""
    there = {one.path: one for one in list_store(url)[0]}
    if _files(folder):
        sent = _read(record)
        for path, one in there.items():
            if path not in sent or not sent[path].is_what_lies_there(one):
                raise DataError(
                    f"{url}: {path} was not put there by this machine, or has been changed since. To go on from what "
                    f"is there, delete {folder}: what is in it and was not sent is lost. Or choose another place."
                )
    elif there:
        if last[-1] not in there:
            raise DataError(
                f"{url}: holds {next(iter(there))} and no {last[-1]}: nothing that this command has finished. If it "
                "was stopped on another machine, let it end there; or choose another place."
            )
        _fetch(url, folder, record, there)


def _fetch(url: str, folder: Path, record: Path, there: Mapping[str, StoreFile]) -> None:
    """Copy what lies at a URL, all of it or nothing."""
    log.info("%s: fetching %d file(s) that are there already", url, len(there))
    aside = folder.with_suffix(".fetched")
    try:
        if aside.exists():
            shutil.rmtree(aside)
        sent = {}
        for path, one in there.items():
            file = aside / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(read_store(f"{url}/{path}", size_bytes=one.size_bytes))
            if one.mtime_ns:
                os.utime(file, ns=(one.mtime_ns, one.mtime_ns))
            sent[path] = _Sent(one.size_bytes, file.stat().st_mtime_ns, one.mtime_ns)
        _write(record, sent)
        if folder.exists():
            shutil.rmtree(folder)  # without a file in it: see `_begin`
        aside.rename(folder)
    except OSError as error:
        raise DataError(f"{folder}: can't be written ({error.strerror or error}). Check rights and space.") from error


def _send(url: str, folder: Path, record: Path, last: Sequence[str]) -> None:
    """Make what lies at a URL the same as the folder."""
    here, sent = _files(folder), _read(record)
    there = {one.path for one in list_store(url)[0]}

    def is_there(path: str) -> bool:
        return path in there and path in sent and sent[path].there_ns != _NOT_YET and sent[path].is_of(here[path])

    todo = [path for path in here if not is_there(path)]
    gone = [path for path in sent if path in there and path not in here]
    if todo or gone:
        todo = [*(path for path in todo if path not in last), *(name for name in last if name in here)]
        for path in [*reversed([name for name in last if name in there]), *gone]:
            remove_from_store(f"{url}/{path}")
        with record.open("a", encoding="utf-8") as lines, progress("sending") as on_progress:
            for number, path in enumerate(todo):
                on_progress(number, len(todo))
                lines.write(_line(path, _Sent(*here[path], _NOT_YET)))
                lines.flush()  # known before it is begun: a half-sent file is then not taken for another machine's
                write_to_store(f"{url}/{path}", folder / path)
                lines.write(_line(path, _Sent(*here[path], _UNKNOWN)))
            on_progress(len(todo), len(todo))
        changed = {one.path: one.mtime_ns for one in list_store(url)[0]}
        _write(record, {path: _Sent(*here[path], changed.get(path, _UNKNOWN)) for path in here})
    log.info("%s: %d file(s) sent, %d were there, %d removed", url, len(todo), len(here) - len(todo), len(gone))
    log.info("a copy is kept in %s, so that the same command goes on from it; it may be deleted", folder)


def _files(folder: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of every file below a folder, by path; hidden ones are not results."""
    found = {}
    for file in sorted(folder.rglob("*")):
        path = file.relative_to(folder)
        if file.is_file() and not any(part.startswith(".") for part in path.parts):
            state = file.stat()
            found[path.as_posix()] = (state.st_size, state.st_mtime_ns)
    return found


def _line(path: str, sent: _Sent) -> str:
    return json.dumps([path, *astuple(sent)]) + "\n"


def _write(record: Path, sent: Mapping[str, _Sent]) -> None:
    from geocamnet.images import written_aside

    with written_aside(record) as aside:
        aside.write_text("".join(_line(path, one) for path, one in sent.items()), encoding="utf-8")


def _read(record: Path) -> dict[str, _Sent]:
    """Return what was sent; the last line of a file counts, and one cut short by a kill ends the record."""
    sent: dict[str, _Sent] = {}
    if not record.is_file():
        return sent
    for line in record.read_text(encoding="utf-8").splitlines():
        try:
            path, *state = json.loads(line)
            sent[path] = _Sent(*state)
        except (ValueError, TypeError):
            break
    return sent
