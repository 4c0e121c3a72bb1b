"""What updates make of records, and what the primary has to know for them.

The sums of INCRBYFLOAT here are Redis 7.0.15's on a PC.
"""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corecache.identity import Epoch, Milliseconds, Sequence, Timestamp, Version
from corecache.operations import (
    NEVER,
    Add,
    AddFloat,
    Assign,
    Check,
    ConditionFailed,
    Delete,
    Deleted,
    Duplicate,
    Expire,
    Extend,
    Found,
    IfAbsent,
    Operation,
    Overwrite,
    Put,
    Read,
    Record,
    Rejected,
    Resolved,
    Result,
    Retime,
    Take,
    Until,
    Update,
    Updated,
    Written,
)
from corecache.replication.events import Request
from corecache.replication.long_double import number_of
from corecache.replication.pending import Pending
from corecache.replication.updating import Change, integer_of, updated

DATE = Timestamp(1000)
BEFORE = Timestamp(400)
LATER = Timestamp(2000)
LASTING = Record(b"old", Version(7), BEFORE)
EXPIRING = Record(b"old", Version(7), BEFORE, LATER)
GONE = Change(None, DATE, NEVER)
UNCHANGED = Updated(False)


@pytest.mark.parametrize(
    ("update", "record", "change", "result"),
    [
        (Check(b"k", Version(7)), LASTING, None, UNCHANGED),
        (Check(b"k", Version(6)), LASTING, None, ConditionFailed(Version(7))),
        (Check(b"k", None), LASTING, None, ConditionFailed(Version(7))),
        (Check(b"k", Version(7)), None, None, ConditionFailed(None)),
        (Check(b"k", None), None, None, UNCHANGED),
        (Assign(b"k", b"v"), EXPIRING, Change(b"v", DATE, NEVER), Updated(True)),
        (Assign(b"k", b"v", None), EXPIRING, Change(b"v", DATE, LATER), Updated(True)),
        (Assign(b"k", b"v", None), None, Change(b"v", DATE, NEVER), Updated(True)),
        (Assign(b"k", b"v", Until(after_ms=5)), None, Change(b"v", DATE, Timestamp(1005)), Updated(True)),
        (Assign(b"k", b"v", Until(at=DATE), with_old=True), LASTING, GONE, Updated(True, b"old")),
        (Assign(b"k", b"v", only="absent", with_old=True), LASTING, None, Updated(False, b"old")),
        (Assign(b"k", b"v", only="present"), None, None, UNCHANGED),
        (Take(b"k"), LASTING, GONE, Updated(True, b"old")),
        (Take(b"k"), None, None, UNCHANGED),
        (Extend(b"k", b"er", 5), EXPIRING, Change(b"older", DATE, LATER), Updated(True, None, 5)),
        (Extend(b"k", b"er", 4), LASTING, None, Rejected("too_long")),
        (Extend(b"k", b"", 4), None, Change(b"", DATE, NEVER), Updated(True, None, 0)),
        (Overwrite(b"k", 1, b"x", 9), EXPIRING, Change(b"oxd", DATE, LATER), Updated(True, None, 3)),
        (Overwrite(b"k", 4, b"x", 5), LASTING, Change(b"old\0x", DATE, NEVER), Updated(True, None, 5)),
        (Overwrite(b"k", 4, b"x", 4), LASTING, None, Rejected("too_long")),
        (Overwrite(b"k", 1 << 62, b"", 9), LASTING, None, Updated(False, None, 3)),
        (Add(b"k", 5), None, Change(b"5", DATE, NEVER), Updated(True, b"5")),
        (Add(b"k", 5), LASTING, None, Rejected("no_integer")),
        (Retime(b"k", Until()), EXPIRING, Change(b"old", BEFORE, NEVER), Updated(True)),
        (Retime(b"k", Until()), LASTING, None, UNCHANGED),
        (Retime(b"k", Until(), with_value=True), LASTING, None, Updated(False, b"old")),
        (Retime(b"k", Until(after_ms=-5000)), LASTING, GONE, Updated(True)),
        (Retime(b"k", Until(at=Timestamp(0))), LASTING, GONE, Updated(True)),
        (Retime(b"k", Until(at=LATER), "if_later"), LASTING, None, UNCHANGED),
        (Retime(b"k", Until(at=LATER), "if_earlier"), EXPIRING, None, UNCHANGED),
        (Retime(b"k", Until(at=LATER), "if_earlier"), LASTING, Change(b"old", BEFORE, LATER), Updated(True)),
        (Retime(b"k", Until(at=LATER)), None, None, UNCHANGED),
    ],
)
def test_what_an_update_makes_of_a_record(
    update: Update, record: Record | None, change: Change | None, result: Result
) -> None:
    """Each update, on records that it finds and on none."""
    assert updated(update, record, DATE) == (change, result)


@given(st.integers(-(1 << 64), 1 << 64))
def test_integers_have_64_bits(number: int) -> None:
    """Every integer of 64 bits is one, and no other."""
    expected = number if -(1 << 63) <= number < 1 << 63 else None
    assert integer_of(b"%d" % number) == expected


@pytest.mark.parametrize("text", [b"", b"-", b"+1", b"01", b"-0", b" 1", b"1 ", b"1_0", b"1.0", b"\xd9\xa1", b"9" * 30])
def test_what_is_no_integer(text: bytes) -> None:
    """Only the one way in which Redis writes an integer counts."""
    assert integer_of(text) is None


@pytest.mark.parametrize(
    ("value", "amount", "total"),
    [
        (b"3.0e3", "200", b"3200"),
        (b"0.1", "0.2", b"0.3"),
        (b".5", "+5.", b"5.5"),
        (b"-0", "-0.0", b"0"),
        (b"18446744073709551617", "0", b"18446744073709551616"),
        (b"36893488147419103235", "0", b"36893488147419103236"),
        (b"9223372036854775807.5", "0", b"9223372036854775807.5"),
        (b"0.000000000000000005", "0", b"0"),
        (b"0.000000000000000015", "0", b"0.00000000000000002"),
        (b"-0.000000000000000005", "0", b"0"),
        (b"3e-4951", "0", b"0"),
        (b"0e99999999999999999999", "1", b"1"),
        (b"1e18", "1e-18", b"1000000000000000000"),
    ],
)
def test_sums_are_those_of_a_long_double(value: bytes, amount: str, total: bytes) -> None:
    """Numbers are rounded where Redis rounds them, and written as it writes them."""
    record = Record(value, Version(1), BEFORE)
    assert updated(AddFloat(b"k", amount), record, DATE) == (Change(total, DATE, NEVER), Updated(True, total))


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b".", b"e5", b"1e", b"nan", b"--1", b"1_0", b" 1", b"1\n", b"0x1", b"1,5", b"infinit", b"\xd9\xa1"),
        *(b"1e4933", b"-1.2e4932", b"1e-4952", b"1e99999999999999999999", b"1e-99999999999999999999", b"1" * 5119),
    ],
)
def test_what_is_no_number(text: bytes) -> None:
    """What a long double can't hold is no number either; whatever the exponent, nothing breaks."""
    assert number_of(text) is None
    assert updated(AddFloat(b"k", "1"), Record(text, Version(1), BEFORE), DATE) == (None, Rejected("no_number"))


def test_what_has_no_end() -> None:
    """A sum that is infinite is rejected as such."""
    for value, amount in ((b"1", "inf"), (b"-Infinity", "1"), (b"1.1e4932", "1.1e4932")):
        record = Record(value, Version(1), BEFORE)
        assert updated(AddFloat(b"k", amount), record, DATE) == (None, Rejected("not_finite"))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_doubles_are_read_exactly(number: float) -> None:
    """A double has a long double that is equal."""
    assert number_of(f"{number:.1100f}".encode()) == Fraction(number)


def _resolved(
    pending: Pending, *operations: Operation, records: dict[bytes, Record | None] | None = None, sequence: int = 1
) -> tuple[list[Result], list[Resolved]]:
    resolved: list[Resolved] = []
    request = Request(operations, Milliseconds(0), 0)
    results, _ = pending.resolve(request, records or {}, Sequence(sequence), DATE, resolved)
    return results, resolved


def test_an_update_has_a_version_of_its_own() -> None:
    """Each change is a version, and the next operation finds it."""
    results, resolved = _resolved(Pending(Version(9)), Add(b"k", 1), Add(b"k", 1), Read(b"k"), records={b"k": None})
    newest = Record(b"2", Version(11), DATE)
    assert results == [Updated(True, b"1"), Updated(True, b"2"), Found(newest)]
    assert resolved == [Resolved(b"k", Record(b"1", Version(10), DATE)), Resolved(b"k", newest)]


def test_a_change_of_expiry_is_a_new_version_of_an_old_value() -> None:
    """A new time to live leaves the timestamp, not the version."""
    _, resolved = _resolved(Pending(Version(9)), Retime(b"k", Until(at=LATER)), records={b"k": LASTING})
    assert resolved == [Resolved(b"k", Record(b"old", Version(10), BEFORE, LATER))]


def test_a_failed_check_undoes_all_but_what_has_expired() -> None:
    """What was told absent stays so, whatever becomes of the batch."""
    pending = Pending(Version(9))
    expired = Record(b"old", Version(8), BEFORE, DATE)
    records: dict[bytes, Record | None] = {b"k": LASTING, b"l": expired, b"n": None}
    operations = (Add(b"n", 1), Take(b"k"), Duplicate(b"n", b"l", True, False), Check(b"k", Version(7)))
    results, resolved = _resolved(pending, *operations, records=records)
    assert results[-1] == ConditionFailed(None)
    assert resolved == [Resolved(b"l", None)]
    assert pending.version == 9
    results, resolved = _resolved(pending, Check(b"l", None), Check(b"k", Version(7)), records=records)
    assert results == [UNCHANGED, UNCHANGED]


def test_a_rejected_update_leaves_the_others_be() -> None:
    """As in a transaction of Redis."""
    results, resolved = _resolved(Pending(Version(9)), Add(b"k", 1), Delete(b"k"), records={b"k": LASTING})
    assert results == [Rejected("no_integer"), Deleted()]
    assert resolved == [Resolved(b"k", None)]


def test_duplicates() -> None:
    """Copies and moves, onto others, onto themselves, from nothing."""
    there = Record(b"there", Version(3), BEFORE)
    records: dict[bytes, Record | None] = {b"k": EXPIRING, b"to": there, b"none": None}
    copied = Resolved(b"to", Record(b"old", Version(10), BEFORE, LATER))
    cases: list[tuple[Duplicate, Result, list[Resolved]]] = [
        (Duplicate(b"none", b"to", True, True), Rejected("absent"), []),
        (Duplicate(b"none", b"none", True, True), Rejected("absent"), []),
        (Duplicate(b"k", b"to", False, True), UNCHANGED, []),
        (Duplicate(b"k", b"to", True, False), Updated(True), [copied]),
        (Duplicate(b"k", b"to", True, True), Updated(True), [copied, Resolved(b"k", None)]),
        (Duplicate(b"k", b"k", True, True), UNCHANGED, []),
        (Duplicate(b"k", b"k", False, True), UNCHANGED, []),
    ]
    for duplicate, result, expected in cases:
        assert _resolved(Pending(Version(9)), duplicate, records=records) == ([result], expected)


def _taken(pending: Pending, *operations: Operation) -> list[Request]:
    told: dict[Sequence, list[tuple[Request, list[Result]]]] = {Sequence(n): [] for n in range(9)}
    return pending.take([Request(operations, Milliseconds(0), 0)], Sequence(1), DATE, [], told)[0]


@pytest.mark.parametrize(
    ("operation", "keys", "with_values"),
    [
        (Take(b"k"), [b"k"], {b"k"}),
        (Extend(b"k", b"", 9), [b"k"], {b"k"}),
        (Overwrite(b"k", 0, b"", 9), [b"k"], {b"k"}),
        (Add(b"k", 1), [b"k"], {b"k"}),
        (AddFloat(b"k", "1"), [b"k"], {b"k"}),
        (Retime(b"k", Until()), [b"k"], {b"k"}),
        (Read(b"k"), [b"k"], {b"k"}),
        (Assign(b"k", b"v", with_old=True), [b"k"], {b"k"}),
        (Assign(b"k", b"v"), [b"k"], set()),
        (Check(b"k", None), [b"k"], set()),
        (Delete(b"k"), [b"k"], set()),
        (Expire(b"k"), [b"k"], set()),
        (Put(b"k", b"v", None, IfAbsent()), [b"k"], set()),
        (Duplicate(b"k", b"to", True, True), [b"k", b"to"], {b"k"}),
    ],
)
def test_values_are_fetched_where_they_count(operation: Operation, keys: list[bytes], with_values: set[bytes]) -> None:
    """An update of a value that was not fetched would store an empty one."""
    pending = Pending(Version(0))
    fetch = pending.park(Epoch(1), _taken(pending, operation))
    assert fetch.keys == keys
    assert fetch.with_values == with_values


def test_both_keys_of_a_duplicate_make_others_wait() -> None:
    """Requests on either key keep their order."""
    pending = Pending(Version(0))
    pending.park(Epoch(1), _taken(pending, Duplicate(b"k", b"to", True, True)))
    assert _taken(pending, Put(b"to", b"v"))
    assert _taken(pending, Put(b"k", b"v"))
    assert not _taken(pending, Put(b"other", b"v"))


def test_a_record_of_the_overlay_needs_no_fetch() -> None:
    """The newest record is known before the store shows it."""
    pending = Pending(Version(0))
    results, _ = _resolved(pending, Put(b"k", b"4"))
    assert results == [Written(Version(1))]
    assert not _taken(pending, Add(b"k", 1))
    assert _resolved(pending, Read(b"k"), sequence=2)[0] == [Found(Record(b"5", Version(2), DATE))]
