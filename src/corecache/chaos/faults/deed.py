"""The form of a deed."""

from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from corecache.chaos.ground import Ground
from corecache.chaos.plan import Planned

Struck = Callable[[str], None]
"""Is told whom a fault strikes."""


class Deed(Protocol):
    """Does a fault, whole."""

    def __call__(self, ground: Ground, planned: Planned, struck: Struck) -> Coroutine[Any, Any, None]:
        """Goes on from the fault's begin to its end; `struck` is told whom it strikes.

        Raises: SkippedError; MissedError.
        """
