"""The page as plain files, for any static host."""

from pathlib import Path

from geocamnet.errors import DataError
from geocamnet.images import written_aside
from geocamnet.runtime.model import Model
from geocamnet.web.site import POLICY, site

_HEAD = b'<meta charset="utf-8">'


def write_site(folder: Path, model: Model | None, *, overwrite: bool = False) -> list[Path]:
    """Write the page into a folder; it works from any path of a host.

    A static host sends no headers of ours: the policy goes into the page itself, and those that WebAssembly threads
    need are added by the page's service worker from the second visit on.

    Args:
        folder: an empty one, or one that will be made.
        model: what the page opens with; None lets it ask for a model file.
        overwrite: write into a folder that holds something; files of the same name are replaced.

    Raises:
        DataError: the folder is not empty or can't be written; ONNX Runtime for browsers can't be had.
    """
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder}: a file, not a folder. Name a folder for the page.")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise DataError(f"{folder}: is not empty. Name an empty folder, or add --overwrite.")
    written = []
    for path, one in site(model).items():
        content = one.content
        if path == "index.html":
            policy = f'{_HEAD.decode()}\n<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
            content = content.replace(_HEAD, policy.encode(), 1)
        with written_aside(folder / path) as aside:
            aside.write_bytes(content)
        written.append(folder / path)
    return written
