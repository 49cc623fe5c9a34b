"""The files of the page, as they are served or written: ours, the engine's, the model."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from geocamnet import __version__
from geocamnet.runtime.model import Model
from geocamnet.taxonomy import CLASSES
from geocamnet.web.engine import engine_folder, read_lock

PAGE = Path(__file__).parent / "page"
MODEL_FILE = "model.onnx"

CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".wasm": "application/wasm",
    ".onnx": "application/octet-stream",
}
# Nothing but this origin, no inline code. WebAssembly has to be allowed by name; photographs are blobs.
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; "
    "img-src 'self' blob:; media-src 'self' blob:; style-src 'self'; manifest-src 'self'; base-uri 'none'; "
    "form-action 'none'"
)
_ABOUT = "site.json"  # what the page is told: build, version, whether there is a model
_ENGINE = "engine/"
_BUILD_MARK = b"BUILD_OF_THIS_PAGE"


@dataclass(frozen=True)
class SiteFile:
    """A file of the page: its bytes, its type, sha256 of the bytes."""

    content: bytes
    content_type: str
    sha256: str


def site(model: Model | None) -> dict[str, SiteFile]:
    """Return every file of the page, by its path relative to the page.

    Args:
        model: what the page opens with; None lets it ask for a model file.

    Raises:
        DataError: ONNX Runtime for browsers is not here and can't be fetched (see `engine`).
    """
    engine = engine_folder()
    found = {file.name: _file(file.name, file.read_bytes()) for file in sorted(PAGE.iterdir()) if _is_ours(file)}
    found |= {_ENGINE + name: _file(name, (engine / name).read_bytes()) for name in read_lock().files}
    if model is not None:
        found[MODEL_FILE] = _file(MODEL_FILE, model.path.read_bytes())
    parts = "".join(f"{path} {one.sha256}\n" for path, one in sorted(found.items()))
    build = hashlib.sha256((__version__ + parts).encode()).hexdigest()[:16]
    lock = read_lock()
    about = {
        "build": build,
        "version": __version__,
        "engine": {"package": lock.package, "version": lock.version},
        "model": MODEL_FILE if model is not None else None,
        "model_name": model.path.name if model is not None else None,
        # A card has titles in English; the classes of the original research have Chinese ones too.
        "chinese": {one.name: one.chinese for one in CLASSES},
        # What every browser keeps, and what it keeps beside that of the engine it runs.
        "files": sorted(path for path in {*found, _ABOUT} - {"sw.js"} if not path.startswith(_ENGINE)),
        "engines": {name: [_ENGINE + file for file in files] for name, files in lock.builds.items()},
    }
    found[_ABOUT] = _file(_ABOUT, json.dumps(about, ensure_ascii=False, indent=1).encode())
    worker = found["sw.js"].content.replace(_BUILD_MARK, build.encode())  # another build is another service worker
    return {**found, "sw.js": _file("sw.js", worker)}


def _file(name: str, content: bytes) -> SiteFile:
    return SiteFile(content, CONTENT_TYPES[Path(name).suffix], hashlib.sha256(content).hexdigest())


def _is_ours(file: Path) -> bool:
    return file.is_file() and file.suffix in CONTENT_TYPES and not file.name.startswith(".")
