"""What can go wrong, in three kinds a caller may want to tell apart."""

from collections.abc import Iterable
from difflib import get_close_matches


class GeocamnetError(Exception):
    """Any error the user can mend; its text says what is wrong, what was received, what to do."""


class DataError(GeocamnetError):
    """A photograph, folder, index or mask is not what it should be."""


class ModelError(GeocamnetError):
    """A model file, checkpoint or card is not what it should be."""


class SourceError(GeocamnetError):
    """A live source (camera, video, stream) or an object store can't be opened or has gone away."""


def unknown_name(kind: str, received: str, known: Iterable[str]) -> str:
    """Return the sentence for an unknown name: what came, what is known, what was likely meant.

    Args:
        kind: what the name names, such as ``"class"``.
        received: the name as it came.
        known: every name that would have been right.
    """
    names = list(known)
    close = get_close_matches(received.lower(), [name.lower() for name in names], n=1)
    hint = next((name for name in names if close and name.lower() == close[0]), None)
    did_you_mean = f" Did you mean '{hint}'?" if hint else ""
    return f"Unknown {kind} '{received}'. Known: {', '.join(names)}.{did_you_mean}"


def missing_extra(module: str, extra: str) -> str:
    """Return the sentence for a package that is not installed, with the line that installs it."""
    return (
        f"This needs the package '{module}', which is not installed. Install it with: pip install 'geocamnet[{extra}]'"
    )
