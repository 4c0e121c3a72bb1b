"""Runs a node with a rule broken: `python -m chaos.canary_node CANARY serve …`. The canaries are in `canaries.py`."""

import sys

from chaos.canaries import named
from corecache.cli import main


def run() -> None:
    """Takes the canary's name out of the arguments; the rest is the program's."""
    named(sys.argv.pop(1)).fly()
    main()


if __name__ == "__main__":
    run()
