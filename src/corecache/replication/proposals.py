"""Proposals of a new view: at most one under way, and what is not settled counts (R18).

A proposal is settled when it is accepted, refused, or superseded by a higher confirmed version. If its answer is lost,
it may yet win, until another compare-and-set on the same version has won: so it is followed by one, unchanged if need
be. All unsettled proposals stand on the same version, that of the confirmed view.

Rule 1: nothing is proposed while the session with the coordinator is not CONNECTED.
Rule 2: nothing is proposed again just because it was refused. Whoever wanted it looks at the newer view first.
"""

from corecache.placement.view import View
from corecache.replication.actions import Action, ProposeView


class Proposals:
    """What this replica has proposed on top of the confirmed view."""

    __slots__ = ("connected", "under_way", "unsettled")

    def __init__(self) -> None:
        """Begins with nothing proposed, and connected: whoever has read a view is."""
        self.connected = True
        self.under_way = False
        self.unsettled: list[View] = []

    @property
    def possible(self) -> bool:
        """Says whether a proposal may be made now."""
        return self.connected and not self.under_way

    def propose(self, view: View, expected: int) -> list[Action]:
        """Proposes a view on a version. Requires: it is possible."""
        assert self.possible
        self.under_way = True
        if view not in self.unsettled:
            self.unsettled.append(view)
        return [ProposeView(view, expected)]

    def superseded(self) -> None:
        """Notes that a higher version is confirmed: whatever was proposed has won by now, or never will."""
        self.under_way = False
        self.unsettled.clear()

    def unanswered(self) -> None:
        """Notes that the view still has the version on which was proposed: the answer is lost, the proposal is not."""
        self.under_way = False
