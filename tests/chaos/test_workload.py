"""What the clients of a campaign ask: drawn from a seed, every value once, every key for a short while."""

from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from corecache.chaos.history import ABSENT, PRESENT, Call, Outcome, Protocol
from corecache.chaos.workload import CALLS_MAX, UNKNOWN_MAX, Operation, Workload, head_of, octets_of
from corecache.placement.slots import partition_of

CLIENTS: tuple[Protocol, ...] = ("http", "http", "resp", "resp")
PARTITIONS = 16


def call_of(operation: Operation, client: int, outcome: Outcome = "done", version: int | None = None) -> Call:
    """Returns the call that an operation became."""
    return Call(
        client=client,
        protocol=CLIENTS[client],
        node="n1",
        kind=operation.kind,
        key=operation.key,
        begin_ns=0,
        end_ns=1,
        outcome=outcome,
        value=operation.value,
        condition=operation.condition,
        version=version,
        ttl_ms=operation.ttl_ms,
    )


def asked(workload: Workload, count: int, outcome: Outcome = "done") -> list[tuple[int, Operation]]:
    """Lets all clients ask in turn; each call is answered with a version of its own."""
    operations = []
    for number in range(count):
        client = number % len(CLIENTS)
        operation = workload.next(client, CLIENTS[client])
        operations.append((client, operation))
        workload.seen(client, call_of(operation, client, outcome, number + 1 if CLIENTS[client] == "http" else None))
    return operations


def kinds(operations: list[tuple[int, Operation]]) -> list[str]:
    """Returns what was asked, without the keys."""
    return [operation.kind for _, operation in operations]


def test_one_seed_asks_the_same_and_another_something_else() -> None:
    """The operations depend on seed, prefix and answers, and on nothing else."""
    first = asked(Workload(5, "c"), 3000)
    assert asked(Workload(5, "c"), 3000) == first
    assert asked(Workload(6, "c"), 3000) != first
    assert kinds(asked(Workload(5, "d"), 3000)) != kinds(first)


def test_the_keys_are_those_that_were_asked() -> None:
    """The keys are all that were asked, and each can be read as what it is."""
    workload = Workload(5, "c")
    operations = [operation for _, operation in asked(workload, 3000)]
    keys = workload.keys()
    assert keys == list(dict.fromkeys(operation.key for operation in operations))
    assert all(key.startswith("c") for key in keys)
    family = {operation.key: operation.family for operation in operations}
    assert all(workload.reading(key) == Operation(family=family[key], kind="get", key=key) for key in keys)


def test_no_value_is_written_twice() -> None:
    """A value found names its writer."""
    values = [operation.value for _, operation in asked(Workload(7, "c"), 20_000) if operation.kind == "put"]
    assert None not in values
    assert len(set(values)) == len(values) > 5000


def test_every_key_has_a_short_history_and_is_then_read_only() -> None:
    """After so many calls a key is read now and then, and never written."""
    operations = [operation for _, operation in asked(Workload(8, "c"), 40_000)]
    live: Counter[str] = Counter()
    read_after = 0
    for operation in operations:
        if live[operation.key] >= CALLS_MAX:
            assert operation.kind == "get", operation
            read_after += 1
        live[operation.key] += 1
    assert read_after > 100
    assert max(live.values()) < 2 * CALLS_MAX


def test_unknown_outcomes_end_a_generation_soon() -> None:
    """A key with many unknown outcomes is written no more."""
    writes: Counter[str] = Counter()
    for _, operation in asked(Workload(9, "c"), 10_000, "unknown"):
        writes[operation.key] += operation.kind != "get"
    assert 1 < max(writes.values()) <= UNKNOWN_MAX


def test_a_ledger_key_is_written_once() -> None:
    """What is in the ledger is never written again."""
    writes = Counter(
        operation.key
        for _, operation in asked(Workload(10, "c"), 20_000)
        if operation.family == "ledger" and operation.value
    )
    assert set(writes.values()) == {1}
    assert len(writes) > 500


def test_what_each_family_and_protocol_may_ask() -> None:
    """Each family is asked all that its protocol can say of it, and nothing else."""
    seen: Counter[tuple[str, Protocol, str, str]] = Counter()
    for client, operation in asked(Workload(11, "c"), 20_000):
        protocol = CLIENTS[client]
        condition = {None: "", ABSENT: "absent", PRESENT: "present"}.get(operation.condition, "version")
        seen[operation.family, protocol, operation.kind, condition] += 1
        assert (operation.value is None) == (operation.kind != "put")
        assert (operation.ttl_ms is not None) == (operation.family == "mortal" and operation.kind == "put")
        assert operation.ttl_ms is None or 1000 <= operation.ttl_ms <= 10_000
        assert (operation.amount > 0) == (operation.kind == "add")
    assert set(seen) == {
        ("register", "http", "get", ""),
        ("register", "http", "put", ""),
        ("register", "http", "put", "absent"),
        ("register", "http", "put", "version"),
        ("register", "http", "delete", ""),
        ("register", "http", "delete", "version"),
        ("register", "resp", "get", ""),
        ("register", "resp", "put", ""),
        ("register", "resp", "put", "absent"),
        ("register", "resp", "put", "present"),
        ("register", "resp", "delete", ""),
        ("counter", "http", "get", ""),
        ("counter", "resp", "get", ""),
        ("counter", "resp", "add", ""),
        *(
            (family, protocol, kind, "")
            for family in ("mortal", "ledger")
            for protocol in CLIENTS
            for kind in ("get", "put")
        ),
        ("ledger", "http", "put", "absent"),
        ("ledger", "resp", "put", "absent"),
    }


def test_a_version_is_the_one_that_this_client_saw_last() -> None:
    """A condition's version is what this client was told, whatever others were."""
    workload, last = Workload(12, "c"), dict[tuple[int, str], int]()
    conditions = 0
    for number in range(20_000):
        client = number % len(CLIENTS)
        operation = workload.next(client, CLIENTS[client])
        if operation.condition is not None and operation.condition > 0:
            assert operation.condition == last[client, operation.key]
            conditions += 1
        told = number + 1 if operation.kind != "delete" and CLIENTS[client] == "http" else None
        workload.seen(client, call_of(operation, client, "done", told))
        last[client, operation.key] = (
            ABSENT if operation.kind == "delete" else told or last.get((client, operation.key), ABSENT)
        )
    assert conditions > 500


def test_the_keys_lie_in_all_partitions_and_some_share_one_by_a_tag() -> None:
    """No partition is left alone, and some keys have a hash tag."""
    workload = Workload(13, "c")
    asked(workload, 20_000)
    keys = workload.keys()
    assert {partition_of(key.encode(), PARTITIONS) for key in keys} == set(range(PARTITIONS))
    assert 0.1 < sum("{" in key for key in keys) / len(keys) < 0.4


@given(number=st.integers(1, 10**7), size_bytes=st.integers(0, 30_000))
def test_a_value_is_as_long_as_asked_and_names_itself(number: int, size_bytes: int) -> None:
    """A value has its size, and its head is found in it."""
    octets = octets_of(f"v{number}", size_bytes)
    assert len(octets) == max(size_bytes, 2 * len(f"v{number}") + 7)
    assert head_of(octets) == f"v{number}"


@given(size_bytes=st.integers(0, 3000), place=st.integers(0, 2999), octet=st.integers(0, 255))
@example(size_bytes=0, place=1, octet=ord("0")).via("the shortest value, taken for another's")
def test_a_value_with_any_byte_changed_is_no_value(size_bytes: int, place: int, octet: int) -> None:
    """A changed byte, a lost end and a byte too many are all seen."""
    octets = octets_of("v1234", size_bytes)
    place %= len(octets)
    changed = octets[:place] + bytes([octet]) + octets[place + 1 :]
    assert head_of(changed) == ("v1234" if changed == octets else None)
    assert head_of(octets[:place]) is None
    assert head_of(octets + octets[:1]) is None


@pytest.mark.parametrize("octets", [b"", b"v", b"v1", b"v1/", b"v1/00007/x", b"x1/00010/x1", b"12", b"v\xff/00008/v"])
def test_what_nobody_wrote_is_no_value(octets: bytes) -> None:
    """What is no value at all has no head."""
    assert head_of(octets) is None
