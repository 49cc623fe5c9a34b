"""``python -m geocamnet`` is the command line."""

from geocamnet.cli import main

main()
