"""Every photograph of RAW looked at once, in parallel; what was seen is kept, so that a stopped audit goes on."""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from geocamnet.errors import DataError
from geocamnet.images import written_aside
from geocamnet.sharing import in_processes
from geocamnet.train.audit.look import Look, LookJob, look_at_all
from geocamnet.train.originals import Originals

LOOKS = "looks.jsonl"
_HEADER = '{"audit looks": 1}'  # to be raised with every change of `Look`
MOST_TEXTURES = 20_000  # photographs whose texture is measured, half of the work on small ones
_AT_A_TIME = 8
_log = logging.getLogger(__name__)


def look_at_photographs(
    originals: Originals,
    out: Path,
    paths: Sequence[str],
    *,
    workers: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Look]:
    """Return a look at every photograph, in the order of the paths.

    AUDIT/looks.jsonl grows by a line a photograph; a photograph whose file has the size and time of its line is
    not looked at again.

    Args:
        originals: what RAW holds.
        out: the folder of the audit.
        paths: of the photographs in it.
        workers: processes; 0 means every core.
        on_progress: called with (done, total).

    Raises:
        DataError: the disk is full or can't be written, or a process died.
    """
    # A hash draws which; the same photographs are drawn whatever else is done.
    drawn = sorted(paths, key=lambda path: hashlib.sha256(path.encode("utf-8", "surrogatepass")).digest())
    textured = frozenset(drawn[:MOST_TEXTURES])
    jobs = [LookJob(str(originals.raw), originals.files[path], path in textured) for path in paths]
    kept = _kept(out / LOOKS)
    seen: dict[str, Look] = {}
    for job in jobs:
        before = kept.get(job.file.path)
        same = before and (before.size_bytes, before.mtime_ns) == (job.file.size_bytes, job.file.mtime_ns)
        if before and same and (before.texture or not job.texture or before.problem):
            seen[job.file.path] = before
    with written_aside(out / LOOKS) as aside, aside.open("w", encoding="utf-8") as stream:
        stream.writelines(f"{line}\n" for line in (_HEADER, *map(_line, seen.values())))
    todo = sorted((job for job in jobs if job.file.path not in seen), key=lambda job: job.file.position)
    _log.info("%d photographs, %d of them looked at already", len(paths), len(seen))
    parts = [tuple(todo[start : start + _AT_A_TIME]) for start in range(0, len(todo), _AT_A_TIME)]
    total = len(jobs)
    with (
        (out / LOOKS).open("a", encoding="utf-8") as journal,
        closing(in_processes(look_at_all, parts, workers=workers, pool_from=4)) as results,
    ):
        for looks in results:
            for look in looks:
                seen[look.path] = look
                try:
                    journal.write(_line(look) + "\n")
                except OSError as error:
                    raise DataError(f"{out / LOOKS}: can't be written ({error.strerror}). Check free space.") from error
            journal.flush()
            if on_progress:
                on_progress(len(seen), total)
    return [seen[path] for path in paths]


def _kept(file: Path) -> dict[str, Look]:
    # What an earlier run has seen. A line cut short by a kill ends it; another version's looks are not used.
    kept: dict[str, Look] = {}
    if not file.is_file():
        return kept
    with file.open(encoding="utf-8", errors="replace") as stream:
        if stream.readline().rstrip("\n") != _HEADER:
            return kept
        for line in stream:
            try:
                look = Look.from_json(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError):
                break
            kept[look.path] = look
    return kept


def _line(look: Look) -> str:
    return json.dumps(look.as_json(), ensure_ascii=False, separators=(",", ":"))
