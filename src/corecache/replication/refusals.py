"""Why a primary does not carry a request out: the sentences, and which record is missed."""

from corecache.errors import CoreCacheError, NotDone, OutcomeUnknown
from corecache.operations import keys_of
from corecache.replication.events import Fetched, Request


def unreadable(request: Request, event: Fetched, alone: bool) -> CoreCacheError | None:
    """Returns why a request can't be resolved, if the disk could not give one of its records."""
    for operation in request.operations:
        for key in keys_of(operation):
            error = event.unreadable.get(key)
            if error is not None and error.code == "answer_too_large" and not alone:
                return NotDone("overloaded", "Too many large values are asked for at once; try again.", 50)
            if error is not None:
                return error
    return None


def behind(size_bytes: int) -> NotDone:
    """Returns the refusal of a primary whose log waits to be applied."""
    return NotDone("overloaded", f"{size_bytes} bytes of the log wait to be applied; try again.")


def too_late() -> NotDone:
    """Returns the refusal of what was not begun before its deadline."""
    return NotDone("deadline_passed", "The deadline passed before the write was begun; try again.", 0)


def too_few_at_the_end() -> CoreCacheError:
    """Returns what is told of a write that was committed by fewer members than must have it (R5)."""
    return OutcomeUnknown(
        "too_few_copies",
        "Fewer replicas than needed hold the write by now: it may be lost if they are; look, or repeat.",
    )
