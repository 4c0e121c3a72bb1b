"""What a primary of a view of one member does, rule by rule."""

from corecache.errors import Broken, NotDone, OutcomeUnknown
from corecache.identity import Epoch, Incarnation, Lineage, Member, Milliseconds, NodeId, ReplicaId, Timestamp, Version
from corecache.operations import (
    Absent,
    AssignNew,
    ConditionFailed,
    Delete,
    Deleted,
    Duplicate,
    Expire,
    Found,
    IfAbsent,
    IfMatch,
    Put,
    Read,
    Record,
    Rejected,
    Retime,
    Until,
    Updated,
    Written,
)
from corecache.placement.view import VersionedView, View
from corecache.replication import actions, events
from corecache.replication.log import size_of
from replication.conversation import MEMBER, Conversation, Disk


def serving(retention_bytes: int = 1 << 30) -> Conversation:
    """Returns a conversation with an activated primary on an empty disk."""
    return Conversation(Disk(), retention_bytes=retention_bytes).begin()


def test_nothing_is_served_before_the_barrier_is_applied() -> None:
    """R10: reads and writes wait for the first entry of the new epoch."""
    talk = Conversation(Disk())
    talk.feed(events.ViewChanged(talk.disk.confirmed))
    assert not talk.serves()
    early = talk.write(Put(b"k", b"v"))
    talk.append()
    assert not talk.serves()
    talk.apply()

    assert isinstance(talk.results[early], NotDone)
    assert talk.serves()


def test_a_put_is_answered_only_after_it_is_durable_and_applied() -> None:
    """R3, R6: no answer before the disk has it and the store shows it."""
    talk = serving()
    put = talk.write(Put(b"k", b"v"))
    assert put not in talk.results
    talk.append()
    assert put not in talk.results
    talk.apply()

    assert talk.results[put] == [Written(Version(1))]
    assert talk.disk.records[b"k"] == Record(b"v", Version(1), Timestamp(1_000_000))


def test_many_updates_of_a_large_record_are_many_entries_or_refused() -> None:
    """No entry is longer than a frame of the link can be, and what waits to be applied is bounded."""
    talk = serving()
    talk.write(Put(b"k", b"v" * (4 << 20)))
    asked = talk.write_all([(Retime(b"k", Until(after_ms=1000 + number)),) for number in range(1000)])

    assert all(size_of((entry,)) < 64 << 20 for entry in talk.replica.log.window)
    assert size_of(talk.replica.log.window) < 128 << 20
    talk.append()
    talk.apply()
    done = [each for each in asked if talk.results.get(each) == [Updated(True)]]
    refused = [each for each in asked if isinstance(talk.results.get(each), NotDone)]
    assert len(done) > 8
    assert len(done) + len(refused) == 1000
    record = talk.disk.records[b"k"]
    assert record.expires == record.timestamp + 999 + len(done)


def test_a_request_that_would_write_too_much_writes_nothing() -> None:
    """A transaction of a few bytes could write the same large value any number of times."""
    talk = serving()
    talk.write(Put(b"k", b"v" * (8 << 20)))
    copies = talk.write_all([tuple(Duplicate(b"k", b"c%d" % number, True, False) for number in range(100))])[0]
    talk.finish()

    assert talk.results[copies] == [Rejected("too_long")] * 100
    assert list(talk.disk.records) == [b"k"]


def test_a_record_that_the_disk_can_not_give_is_missed_wherever_it_is_needed() -> None:
    """Also the second key of an operation: its request is refused, and no other."""
    talk = serving()
    asked = talk.write_all([(Duplicate(b"a", b"b", True, False),), (AssignNew(b"c", ((b"c", b"1"), (b"b", b"2"))),)])
    talk.fetching.clear()
    record = Record(b"v", Version(1), Timestamp(1))
    damaged = Broken("storage_unreadable", "A block is damaged.")
    talk.feed(events.Fetched(talk.replica.facts.epoch, {b"a": record, b"c": None}, {b"b": damaged}))

    assert [talk.results[each] for each in asked] == [damaged, damaged]


def test_what_is_resolved_after_a_fetch_is_bounded_too() -> None:
    """A thousand small requests that wait for the disk can write a large value each."""
    talk = serving()
    talk.write(Put(b"k", b"v" * (8 << 20)))
    talk.finish()
    asked = talk.write_all([(Duplicate(b"k", b"c%d" % number, True, False),) for number in range(100)])
    talk.finish()

    done = [each for each in asked if talk.results[each] == [Updated(True)]]
    assert 8 <= len(done) < 20
    assert all(isinstance(talk.results[each], NotDone) for each in asked if each not in done)


def test_small_requests_do_not_make_the_log_grow_without_bound() -> None:
    """What is not applied is counted in bytes, whatever was asked."""
    talk = serving()
    talk.write(Put(b"k", b"v" * (8 << 20)))
    asked = [talk.write(Retime(b"k", Until(after_ms=1000 + number))) for number in range(100)]

    refused = [each for each in asked if isinstance(talk.results.get(each), NotDone)]
    assert 80 < len(refused) < 100
    talk.append()
    talk.apply()
    again = talk.write(Retime(b"k", Until()))
    talk.finish()
    assert talk.results[again] == [Updated(True)]


def test_a_batch_is_one_entry() -> None:
    """What arrives together shares one sequence, and so one record in the log."""
    talk = serving()
    before = talk.replica.log.last
    talk.write_all([(Put(b"a", b"1"),), (Put(b"b", b"2"),), (Put(b"a", b"3"),)])

    assert talk.replica.log.last == before + 1
    talk.finish()
    assert talk.disk.records[b"a"].value == b"3"


def test_a_restart_leads_under_a_new_epoch_and_keeps_what_was_durable() -> None:
    """R14: the same node starts again as primary with epoch + 1; its log is committed by the barrier."""
    talk = serving()
    talk.write(Put(b"k", b"v"))
    talk.append()
    again = Conversation(talk.disk).begin()

    assert again.replica.facts.epoch == 2
    assert again.disk.records[b"k"].value == b"v"
    assert talk.disk.confirmed.view.in_sync == (MEMBER,)


def test_what_was_not_durable_is_absent_after_a_restart_and_its_version_is_free() -> None:
    """An unacknowledged write is whole or absent; versions are unique among what exists."""
    talk = serving()
    talk.write(Put(b"k", b"lost"))
    again = Conversation(talk.disk).begin()
    put = again.write(Put(b"k", b"kept"))
    again.finish()

    assert again.results[put] == [Written(Version(1))]
    assert again.disk.records[b"k"].value == b"kept"


def test_versions_grow_over_a_restart_with_unapplied_entries() -> None:
    """The highest version is taken from the log where the store does not show it yet."""
    talk = serving()
    talk.write(Put(b"k", b"1"))
    talk.write(Put(b"k", b"2"))
    talk.append()
    again = Conversation(talk.disk).begin()
    put = again.write(Put(b"k", b"3"))
    again.finish()

    assert again.results[put] == [Written(Version(3))]


def test_no_activation_before_earlier_grants_have_run_out() -> None:
    """R10, step 3: the barrier waits for the time after which nobody can hold a lease from this node."""
    talk = Conversation(Disk(), grants_end=700)
    talk.feed(events.ViewChanged(talk.disk.confirmed))
    assert not talk.appending
    assert talk.wake_at == 700
    talk.wake()
    talk.finish()

    assert talk.serves()


def test_a_condition_is_resolved_against_the_pending_record() -> None:
    """R16: the newest appended record counts, whether the store shows it or not, and the answer leans on it."""
    talk = serving()
    talk.write(Put(b"k", b"v"))
    refused = talk.write(Put(b"k", b"w", condition=IfAbsent()))
    matched = talk.write(Put(b"k", b"x", condition=IfMatch((Version(1),))))
    assert not talk.fetching
    assert refused not in talk.results
    talk.finish()

    assert talk.results[refused] == [ConditionFailed(Version(1))]
    assert talk.results[matched] == [Written(Version(2))]
    assert talk.disk.records[b"k"].value == b"x"


def test_a_condition_on_a_cold_key_waits_for_its_fetch_and_later_writes_wait_behind_it() -> None:
    """Requests on a key keep their order, also when the first of them needs the disk."""
    talk = serving()
    talk.write(Put(b"k", b"v"))
    talk.finish()
    deleted, put, other = talk.write_all([(Delete(b"k"),), (Put(b"k", b"w"),), (Put(b"other", b"o"),)])
    talk.append()
    talk.apply()
    assert talk.results[other] == [Written(Version(2))]
    assert put not in talk.results
    talk.finish()

    assert talk.results[deleted] == [Deleted()]
    assert talk.results[put] == [Written(Version(3))]
    assert talk.disk.records[b"k"].value == b"w"


def test_a_record_applied_while_its_key_is_fetched_still_counts() -> None:
    """A fetch begun before a write was applied may bring the older record; the newer one decides."""
    talk = serving()
    talk.write_all([(Delete(b"cold"),)])
    stale = {key: talk.disk.records.get(key) for key in talk.fetching[0][1]}
    second = talk.write(Put(b"k", b"v"))
    first = talk.write(Put(b"cold", b"new"))
    talk.append()
    talk.apply()
    talk.fetching.popleft()
    talk.feed(events.Fetched(talk.replica.facts.epoch, stale, {}))
    talk.finish()

    assert talk.results[second] == [Written(Version(1))]
    assert talk.results[first] == [Written(Version(2))]
    assert talk.disk.records[b"cold"].value == b"new"


def test_a_delete_of_an_absent_key_writes_nothing() -> None:
    """An answer that wrote nothing costs no entry."""
    talk = serving()
    last = talk.replica.log.last
    delete = talk.write(Delete(b"k"))
    talk.finish()

    assert talk.results[delete] == [Absent()]
    assert talk.replica.log.last == last


def test_an_atomic_batch_with_a_failed_condition_writes_nothing() -> None:
    """All or none: versions, overlay and log are as before."""
    talk = serving()
    talk.write(Put(b"a", b"1"))
    last = talk.replica.log.last
    unwritten = Record(b"2", Version(2), Timestamp(1_000_000))
    batch = talk.write(Put(b"b", b"2"), Put(b"a", b"3", condition=IfAbsent()), Read(b"b"))
    talk.finish()
    after = talk.write(Put(b"c", b"4"))
    talk.finish()

    assert talk.results[batch] == [Written(Version(2)), ConditionFailed(Version(1)), Found(unwritten)]
    assert talk.results[after] == [Written(Version(2))]
    assert b"b" not in talk.disk.records
    assert talk.replica.log.last == last + 1


def test_a_read_in_an_atomic_batch_sees_the_writes_before_it() -> None:
    """Operations of a batch take effect in their order."""
    talk = serving()
    batch = talk.write(Put(b"a", b"1"), Read(b"a"), Delete(b"a"), Read(b"a"))
    talk.finish()

    record = Record(b"1", Version(1), Timestamp(1_000_000))
    assert talk.results[batch] == [Written(Version(1)), Found(record), Deleted(), Absent()]


def test_an_expired_record_is_deleted_through_the_log_before_it_is_called_absent() -> None:
    """R17: the answer leans on the delete, so that no clock can bring the value back."""
    talk = serving()
    talk.write(Put(b"k", b"v", ttl_ms=50))
    talk.finish()
    talk.date += 50
    refused = talk.write(Put(b"k", b"w", condition=IfMatch(None)))
    talk.fetch()
    assert refused not in talk.results
    talk.finish()
    talk.date -= 50
    late = talk.write(Put(b"k", b"x", condition=IfMatch(None)))
    talk.finish()

    assert talk.results[refused] == [ConditionFailed(None)]
    assert talk.results[late] == [ConditionFailed(None)]
    assert b"k" not in talk.disk.records


def test_an_expiry_is_kept_even_when_the_batch_that_found_it_fails() -> None:
    """Whoever was told of the absence in a failed batch must not see the value again."""
    talk = serving()
    talk.write(Put(b"k", b"v", ttl_ms=50))
    talk.finish()
    talk.date += 60
    batch = talk.write(Read(b"k"), Put(b"k", b"w", condition=IfMatch(None)))
    talk.finish()

    assert talk.results[batch] == [Absent(), ConditionFailed(None)]
    assert b"k" not in talk.disk.records


def test_an_expire_spares_a_record_written_anew() -> None:
    """R17: what counts is the newest record, not the one that was found expired."""
    talk = serving()
    talk.write(Put(b"k", b"old", ttl_ms=50))
    talk.write(Put(b"k", b"new"))
    talk.finish()
    talk.date += 60
    expire = talk.write(Expire(b"k"))
    talk.finish()

    assert talk.results[expire] == [ConditionFailed(Version(2))]
    assert talk.disk.records[b"k"].value == b"new"


def test_a_write_past_its_deadline_is_unknown_when_appended_and_not_done_when_not() -> None:
    """R5: the deadline ends the waiting, and the answer says whether the write may yet happen."""
    talk = serving()
    appended = talk.write(Put(b"k", b"v"), timeout_ms=100)
    talk.now = 100
    talk.wake()
    late = talk.write(Put(b"k", b"w"), timeout_ms=0)
    talk.finish()

    assert isinstance(talk.results[appended], OutcomeUnknown)
    assert isinstance(talk.results[late], NotDone)
    assert talk.disk.records[b"k"].value == b"v"


def test_a_request_parked_past_its_deadline_is_not_done() -> None:
    """What was given no sequence surely did not happen."""
    talk = serving()
    delete = talk.write(Delete(b"k"), timeout_ms=100)
    talk.now = 200
    talk.finish()

    assert isinstance(talk.results[delete], NotDone)
    put = talk.write(Put(b"k", b"v"))
    talk.finish()
    assert talk.results[put] == [Written(Version(1))]


def test_a_failed_disk_ends_the_appended_as_unknown_and_refuses_the_rest() -> None:
    """R3: nothing more is acknowledged, and nobody is left without an answer."""
    talk = serving()
    appended = talk.write(Put(b"k", b"v"))
    parked = talk.write(Delete(b"cold"))
    begun = talk.feed(events.StorageFailed("fsync failed."))
    after = talk.write(Put(b"k", b"w"))

    assert isinstance(talk.results[appended], OutcomeUnknown)
    assert isinstance(talk.results[parked], NotDone)
    assert isinstance(talk.results[after], NotDone)
    assert isinstance(begun[-1], actions.StepDown)
    assert not talk.serves()


def test_the_log_is_cut_when_its_applied_part_exceeds_the_retention() -> None:
    """R15: entries that are applied and that nobody else needs leave the log."""
    talk = serving(retention_bytes=250)
    for number in range(3):
        talk.write(Put(b"k%d" % number, b"v"))
        talk.finish()

    assert talk.disk.cut == talk.replica.log.last
    assert len(Conversation(talk.disk).begin().disk.records) == 3


def test_a_view_of_another_primary_ends_this_one() -> None:
    """R2, R9: who is no longer named steps down, and tells the truth to whoever waits."""
    talk = serving()
    put = talk.write(Put(b"k", b"v"))
    other = Member(NodeId("n2"), ReplicaId("r2"))
    view = View(Lineage(1), Epoch(9), other, Incarnation(1), (other,), (NodeId("n2"),))
    talk.feed(events.ViewChanged(VersionedView(view, talk.disk.confirmed.version + 1)))

    assert isinstance(talk.results[put], OutcomeUnknown)
    assert not talk.serves()
    assert talk.replica.refusal().code == "no_primary"


def test_an_older_incarnation_yields_to_a_newer_one() -> None:
    """R14 works one way only: two processes of a node that took turns would never let either serve."""
    talk = serving()
    put = talk.write(Put(b"k", b"v"))
    Conversation(talk.disk).begin()
    begun = talk.feed(events.ViewChanged(talk.disk.confirmed))

    assert not any(isinstance(action, actions.ProposeView) for action in begun)
    assert isinstance(talk.results[put], OutcomeUnknown)
    talk.finish()
    talk.replica.tick(Milliseconds(talk.now))
    assert talk.replica.primary is None
    assert not talk.serves()


def test_a_proposal_that_came_to_nothing_is_made_again_on_the_version_that_stands() -> None:
    """R18: a lost answer is settled by a compare-and-set of one's own on the version read again."""
    serving_before = serving()
    talk = Conversation(serving_before.disk)
    stands = talk.disk.confirmed
    first = talk.replica.handle(events.ViewChanged(stands), Milliseconds(0))
    again = talk.replica.handle(events.ViewRefused(stands), Milliseconds(0))

    assert first == again
    assert isinstance(again[0], actions.ProposeView)
    talk.feed(events.ViewRefused(stands))
    talk.finish()
    assert talk.serves()


def test_a_parked_request_is_refused_at_its_deadline_though_its_fetch_hangs() -> None:
    """R5: a disk that does not answer leaves nobody without an answer; what waits behind is refused too."""
    talk = serving()
    conditional = talk.write(Put(b"k", b"v", condition=IfAbsent()), timeout_ms=100)
    behind = talk.write(Put(b"k", b"w"), timeout_ms=200)
    talk.now = 100
    talk.wake()
    assert isinstance(talk.results[conditional], NotDone)
    assert behind not in talk.results
    talk.now = 200
    talk.wake()
    assert isinstance(talk.results[behind], NotDone)
    talk.fetch()
    after = talk.write(Put(b"k", b"x"))
    talk.finish()

    assert talk.results[after] == [Written(Version(1))]


def test_a_record_that_the_disk_cannot_give_costs_only_the_requests_that_need_it() -> None:
    """A damaged block is the fault of one key; the partition goes on."""
    talk = serving()
    bad, good = talk.write_all([(Delete(b"bad"),), (Delete(b"good"),)])
    talk.fetching.clear()
    damaged = Broken("storage_unreadable", "A block is damaged.")
    talk.feed(events.Fetched(talk.replica.facts.epoch, {b"good": None}, {b"bad": damaged}))
    put = talk.write(Put(b"bad", b"v"))
    talk.finish()

    assert talk.results[bad] is damaged
    assert talk.results[good] == [Absent()]
    assert talk.results[put] == [Written(Version(1))]


def test_conditions_do_not_ask_for_values_and_reads_do() -> None:
    """The values of a thousand deletes may be more than the memory holds."""
    talk = serving()
    begun = talk.feed(
        events.ClientWrites(
            [events.Request([Delete(b"a"), Read(b"b")], Milliseconds(5000), 1)],
            Timestamp(1),
        )
    )

    assert begun[0] == actions.Fetch(talk.replica.facts.epoch, [b"a", b"b"], {b"b"})


def test_conditions_and_reads_judge_expiry_by_the_same_date() -> None:
    """A wall clock that jumped ahead for one write, and back, leaves nothing expired that a read still serves."""
    talk = serving()
    talk.write(Put(b"k", b"v", ttl_ms=60_000))
    talk.date += 30 * 86_400_000
    talk.write(Put(b"other", b"v"))
    talk.date -= 30 * 86_400_000
    refused = talk.write(Put(b"k", b"w", condition=IfAbsent()))
    talk.finish()

    assert talk.results[refused] == [ConditionFailed(Version(1))]


def test_activation_cuts_the_log_that_nobody_needs() -> None:
    """Each start appends a barrier; without a cut the log would grow by one entry a start for ever."""
    talk = serving()
    for _ in range(5):
        talk = Conversation(talk.disk).begin()

    assert talk.disk.cut == talk.replica.log.last == 6
