"""How far each member is, and what follows from it for the commit point (R4).

The *required set* is everybody whose acknowledgement an entry needs: the members of `in_sync` in the confirmed view and
in every view that this primary has proposed and not yet seen settled. An entry is committed when all of them have
acknowledged it, which is arithmetic; when to propose whom is the primary's business.

Invariant: an acknowledgement never goes back.
"""

from corecache.identity import Member, Sequence


class Progress:
    """The acknowledged sequence of each member of the required set."""

    __slots__ = ("acknowledged",)

    def __init__(self, required: tuple[Member, ...]) -> None:
        """Takes the required set, with nothing acknowledged yet."""
        self.acknowledged = dict.fromkeys(required, Sequence(0))

    def acknowledge(self, member: Member, upto: Sequence) -> None:
        """Notes that a member's disk holds the log up to a sequence. Strangers and old news change nothing."""
        known = self.acknowledged.get(member)
        if known is not None and upto > known:
            self.acknowledged[member] = upto

    def committed(self) -> Sequence:
        """Returns the highest sequence that every member of the required set has acknowledged."""
        return min(self.acknowledged.values())
