"""The leases that a replica has granted to primaries, and how long they bind it (R8, R10).

A primary serves reads as long as it holds a lease from every other member of its required set. So whoever granted one
has promised not to lead before it has run out: that is what lets a new primary serve at all.

Rules:

1. A grant is remembered from the time at which it was *answered*, for its full duration; its holder counts from an
   earlier time and for less.
2. Nothing is granted from the moment that the view names this replica primary, to anybody.
3. Nothing is granted to a claim of an epoch below one that is known, nor to one that means another replica.
4. A primary that was handed over to need not wait, if the one before has said that it serves no more (`Released`), for
   this very view.
"""

from corecache.identity import Milliseconds
from corecache.replication.messages import Claim
from corecache.replication.state import State


class Grants:
    """What one replica has granted. `until`: when the last of it runs out."""

    __slots__ = ("_released", "_state", "until")

    def __init__(self, state: State, until: Milliseconds) -> None:
        """`until`: when every lease that an earlier process of this node may have granted has run out."""
        self._state = state
        self._released = -1
        self.until = until

    def give(self, claim: Claim, now: Milliseconds) -> bool:
        """Says whether a claim is granted from now on for `lease_ms`, and remembers it."""
        if self.withholds(claim):
            return False
        self.until = max(self.until, Milliseconds(now + self._state.settings.lease_ms))
        return True

    def withholds(self, claim: Claim) -> bool:
        """Says whether something speaks against a claim (rules 2 and 3)."""
        state = self._state
        if state.names_this or state.facts.installing or claim.replica != state.facts.replica:
            return True
        known = state.facts.epoch
        if state.confirmed is not None:
            known = max(known, state.confirmed.view.epoch)
        return claim.epoch < known

    def note_released(self, version: int) -> None:
        """Takes note that the primary before serves no more, since it saw the view of this version (rule 4)."""
        self._released = max(self._released, version)

    def have_ended(self, now: Milliseconds) -> bool:
        """Says whether nobody can hold a lease from here any more. Requires: there is a view."""
        assert self._state.confirmed is not None
        return now >= self.until or self._released == self._state.confirmed.version
