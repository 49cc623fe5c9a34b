"""The command line: the pipeline is its verbs, in order."""

from geocamnet.cli import learning, live, using  # noqa: F401 (their functions join the app)
from geocamnet.cli.app import app, main

__all__ = ["app", "main"]
