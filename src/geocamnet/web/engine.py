"""ONNX Runtime for browsers: four files of an npm package, fetched once and checked against `engine.json`.

Two make the plain build, two that with WebGPU; a browser fetches one of the two. They are third-party and large (14 and
17 MB), so they are not part of this repository. `make web` lays them beside this file,
from where they go into a wheel; without that the first ``geocamnet web`` lays them into this user's cache.
"""

import base64
import hashlib
import json
import logging
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from geocamnet.errors import DataError
from geocamnet.images import written_aside
from geocamnet.runtime.kept import cache_folder

log = logging.getLogger(__name__)

BESIDE = Path(__file__).parent / "engine"
NPM_SECONDS = 600
_WITHOUT_NETWORK = (
    "On a machine with a network run: geocamnet web --static DIR --model MODEL.onnx. DIR then holds all of the page; "
    "or copy the folder {folder} from there."
)


@dataclass(frozen=True)
class Lock:
    """What is fetched: package and version, npm's ``integrity`` of the archive, sha256 of each file taken from it.

    ``builds`` says which of the files belong together: ``plain``, and ``gpu`` with WebGPU.
    """

    package: str
    version: str
    licence: str
    integrity: str
    files: Mapping[str, str]
    builds: Mapping[str, Sequence[str]]


def read_lock() -> Lock:
    """Return what `engine.json` asks for."""
    return Lock(**json.loads(Path(__file__).with_name("engine.json").read_text(encoding="utf-8")))


def find_engine() -> Path | None:
    """Return the folder that holds the files of the lock, whole and unchanged; None where there is none."""
    lock = read_lock()
    return next((folder for folder in (BESIDE, _in_cache(lock)) if _is_whole(folder, lock)), None)


def engine_folder() -> Path:
    """Return the folder with the engine; where there is none, fetch it with npm into this user's cache.

    Raises:
        DataError: it has to be fetched, and npm is missing, reaches no network or brings something else.
    """
    found = find_engine()
    if found is None:
        found = _in_cache(read_lock())
        fetch(found)
    return found


def fetch(folder: Path) -> None:
    """Fetch the package with npm, check the archive, and lay the files of the lock into a folder.

    Raises:
        DataError: as `engine_folder`.
    """
    lock = read_lock()
    wanted = f"{lock.package}@{lock.version}"
    npm = shutil.which("npm")
    otherwise = _WITHOUT_NETWORK.format(folder=folder)
    if npm is None:
        raise DataError(f"The page needs {wanted}, which npm brings, and npm is not installed. {otherwise}")
    log.info("fetching %s with npm (33 MB, once)", wanted)
    with tempfile.TemporaryDirectory() as aside:
        try:
            # `pack` brings this one archive and runs nothing of it; dependencies are bundled in the file we take.
            done = subprocess.run(
                [npm, "pack", wanted, "--ignore-scripts", "--silent"],
                cwd=aside, capture_output=True, text=True, timeout=NPM_SECONDS, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DataError(f"npm could not fetch {wanted} ({error}). {otherwise}") from error
        archives = list(Path(aside).glob("*.tgz"))
        if done.returncode != 0 or len(archives) != 1:
            said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise DataError(f"npm could not fetch {wanted} ({said}). {otherwise}")
        unpack(archives[0], folder, lock)


def unpack(archive: Path, folder: Path, lock: Lock) -> None:
    """Take the files of the lock out of an npm archive.

    Raises:
        DataError: the archive or a file in it is not what the lock says.
    """
    kind, _, wanted = lock.integrity.partition("-")
    received = base64.b64encode(hashlib.new(kind, archive.read_bytes()).digest()).decode()
    if received != wanted:
        raise DataError(
            f"{lock.package}@{lock.version} came with another checksum than engine.json has ({kind}-{received[:16]}… "
            f"instead of {kind}-{wanted[:16]}…), so it was not used. Check what npm's registry is set to."
        )
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as packed:
        for name, sha256 in lock.files.items():
            try:
                file = packed.extractfile(f"package/dist/{name}")
            except KeyError:
                file = None
            content = file.read() if file is not None else b""
            if hashlib.sha256(content).hexdigest() != sha256:
                raise DataError(f"{lock.package}@{lock.version}: {name} is missing or changed; it was not used.")
            with written_aside(folder / name) as aside:
                aside.write_bytes(content)


def _in_cache(lock: Lock) -> Path:
    return cache_folder() / "web" / f"{lock.package}-{lock.version}"


def _is_whole(folder: Path, lock: Lock) -> bool:
    try:
        return all(
            hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha256 for name, sha256 in lock.files.items()
        )
    except OSError:
        return False


if __name__ == "__main__":  # make web
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        if not _is_whole(BESIDE, read_lock()):
            fetch(BESIDE)
    except DataError as error:
        log.error("%s", error)
        sys.exit(2)
