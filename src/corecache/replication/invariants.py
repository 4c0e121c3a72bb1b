"""What must be true of a replica after every event: checked in tests and in simulation, never in production.

The list is the protocol's (`docs/protocol.md`, invariants 1 and 6) as far as one replica can see it by itself.
"""

from corecache.replication.replica import Replica


def check(replica: Replica) -> None:
    """Raises AssertionError with the broken invariant, if one is broken."""
    log = replica.log
    numbers = f"cut {log.cut}, applied {log.applied}, commit {log.commit}, durable {log.durable}, last {log.last}"
    assert log.cut <= log.applied <= log.commit <= log.last, f"out of order: {numbers}"
    assert log.durable <= log.last, f"out of order: {numbers}"
    expected = range(log.applied + 1, log.last + 1)
    assert [entry.sequence for entry in log.window] == list(expected), "the window has a hole"
    epochs = [entry.epoch for entry in log.window]
    assert epochs == sorted(epochs), "an epoch goes back in the log"
    assert log.epoch <= replica.facts.epoch or replica.primary is None, "the log is ahead of the accepted epoch"
    if replica.primary is not None:
        assert replica.confirmed is not None
        view = replica.confirmed.view
        assert log.commit <= log.durable, "a primary has committed what its own disk does not have"
        assert replica.state.durable_epoch == replica.facts.epoch, "a primary leads in an epoch that its disk lacks"
        assert view.primary == replica.member, "a primary that its view does not name"
        assert view.incarnation == replica.incarnation, "a primary of another incarnation"
        assert replica.failed is None, "a primary with a failed disk"
        noted = replica.state.peers.lease_ends.get(replica.partition)
        assert noted in (None, replica.primary.leases_end()), "the end of the leases is not what was noted"
