"""How a command ends: the exit codes, and the line on standard error that explains one.

Scripts act on the code alone, so each of the outcomes of `corecache.errors` has its own, and 1, which Python gives for
any failure, is kept for one meaning: the question was understood and answered, with no. 130 and 141 are what a shell
reports for a program that SIGINT or SIGPIPE has ended.
"""

import os
import sys
from typing import Final

from corecache.errors import CallerFault, CoreCacheError, NotDone, OutcomeUnknown

NO: Final = 1
WRONG_USAGE: Final = 2
NOT_DONE: Final = 3
OUTCOME_UNKNOWN: Final = 4
BROKEN: Final = 5
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141


def exit_code_of(error: CoreCacheError) -> int:
    """Returns the exit code that stands for an error."""
    if error.code == "condition_failed":
        return NO
    if isinstance(error, CallerFault):
        return WRONG_USAGE
    if isinstance(error, NotDone):
        return NOT_DONE
    return OUTCOME_UNKNOWN if isinstance(error, OutcomeUnknown) else BROKEN


def complain(message: str) -> None:
    """Says on standard error what went wrong."""
    if sys.stderr is not None:
        sys.stderr.write(f"corecache: {message}\n")


def drop_output() -> None:
    """Lets what is still buffered for standard output vanish: nobody can read it any more."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
