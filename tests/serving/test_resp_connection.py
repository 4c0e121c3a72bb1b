"""Connections of Redis's protocol: order, back-pressure, limits, transactions, and the two kinds of client."""

import asyncio
from collections.abc import Sequence

import pytest

from corecache.config import KIB
from corecache.errors import Broken, NotDone, OutcomeUnknown
from corecache.identity import Milliseconds
from corecache.operations import Operation, Result
from corecache.ports import Reply
from serving.resp_lab import Lab, packed, served


def hold(lab: Lab) -> asyncio.Event:
    """Holds all calls of the service back until the event is set."""
    lab.service.gate = asyncio.Event()
    return lab.service.gate


@served()
async def test_the_everyday_calls(lab: Lab) -> None:
    """The everyday calls."""
    wire = await lab.connect()
    assert await wire.ask("PING") == b"PONG"
    assert await wire.ask("SET a 1", "GET a", "DEL a", "GET a") == [b"OK", b"1", 1, None]
    assert await wire.ask("INCR n", "INCRBY n 41", "GET n") == [1, 42, b"42"]


@served()
async def test_inline_commands_are_understood(lab: Lab) -> None:
    """Inline commands are understood."""
    wire = await lab.connect()
    await wire.send_bytes(b'SET "a b" \'c\'\r\nGET "a b"\r\n')
    assert await wire.answers(2) == [b"OK", b"c"]


@served()
async def test_answers_come_in_the_order_of_the_commands(lab: Lab) -> None:
    """Answers come in the order of the commands."""
    wire, gate = await lab.connect(), hold(lab)
    await wire.send("SET a 1", "PING", "GET a", "GET b", "INCR a", "ECHO x")
    await lab.until(lambda: lab.service.begun > 0)
    gate.set()
    assert await wire.answers(6) == [b"OK", b"PONG", b"1", None, 2, b"x"]


@served()
async def test_a_read_sees_the_write_sent_before_it_and_not_the_one_after(lab: Lab) -> None:
    """A read sees the write sent before it and not the one after."""
    wire = await lab.connect()
    commands = [word for number in range(200) for word in (f"SET a {number}", "GET a")]
    answers = await wire.ask(*commands)
    assert answers[1::2] == [str(number).encode() for number in range(200)]


@served(clustered=True)
async def test_a_read_from_elsewhere_is_not_overtaken_by_a_later_write(lab: Lab) -> None:
    """A read from elsewhere is not overtaken by a later write."""
    wire = await lab.connect()
    lab.service.elsewhere.add(b"a")
    assert await wire.ask("SET a 1") == b"OK"
    gate = hold(lab)
    await wire.send("GET a", "SET a 2", "GET a")
    await lab.until(lambda: lab.service.begun > 0)
    gate.set()
    assert await wire.answers(3) == [b"1", b"OK", b"2"]


@served()
async def test_what_looks_at_everything_waits_for_what_was_sent_before(lab: Lab) -> None:
    """What looks at everything waits for what was sent before."""
    wire, gate = await lab.connect(), hold(lab)
    await wire.send("SET a 1", "SET b 2", "DBSIZE", "SET c 3", "DBSIZE")
    await lab.until(lambda: lab.service.begun > 0)
    gate.set()
    assert await wire.answers(5) == [b"OK", b"OK", 2, b"OK", 3]


@served(pipeline_requests_max=4)
async def test_no_more_commands_are_begun_than_may_be_under_way(lab: Lab) -> None:
    """No more commands are begun than may be under way."""
    wire, gate = await lab.connect(), hold(lab)
    await wire.send(*[f"SET k{number} v" for number in range(1000)])
    shared = lab.server.shared
    await lab.until(lambda: shared.commands_total >= 4)
    await asyncio.sleep(0.05)
    assert shared.commands_total == 4
    gate.set()
    assert await wire.answers(1000) == [b"OK"] * 1000


@served(pipeline_bytes_max=64 * KIB)
async def test_a_client_that_does_not_read_is_not_served_on(lab: Lab) -> None:
    """A client that does not read is not served on."""
    wire = await lab.connect()
    await wire.send_bytes(packed("SET", "a", b"x" * 100_000))
    assert await wire.answer() == b"OK"
    before = lab.server.shared.commands_total
    await wire.send(*["GET a"] * 2000)
    await asyncio.sleep(0.2)
    assert lab.server.shared.commands_total - before < 200
    assert [len(value) for value in await wire.answers(2000)] == [100_000] * 2000


@served(send_timeout_ms=100)
async def test_a_client_that_never_reads_is_cut_off(lab: Lab) -> None:
    """A client that never reads is cut off."""
    wire = await lab.connect()
    await wire.send_bytes(packed("SET", "a", b"x" * 1_000_000))
    assert await wire.answer() == b"OK"
    await wire.send(*["GET a"] * 200)
    await lab.until(lambda: lab.server.shared.connections == 0)


@served(send_timeout_ms=600_000)
async def test_a_client_that_reads_slowly_is_not_cut_off(lab: Lab) -> None:
    """However long it takes for all: only whoever reads nothing for so long is."""
    wire = await lab.connect()
    (connection,) = lab.server.shared.open
    await wire.send_bytes(packed("SET", "a", b"x" * 8_000_000))
    assert await wire.answer() == b"OK"
    await wire.send(*["GET a"] * 12)

    def unsent() -> int:
        return connection.transport.get_write_buffer_size()

    async def sent_on(before: int) -> None:
        await lab.until(lambda: unsent() != before)

    async def pass_by(wait_ms: int) -> None:
        lab.clock.ahead_ms += wait_ms
        date = lab.clock.today()
        await lab.until(lambda: lab.server.shared.now >= date)

    await lab.until(lambda: unsent() > 0)
    for _ in range(6):
        before = unsent()
        await wire.reader.readexactly(3_000_000)
        await sent_on(before)
        await pass_by(400_000)
        assert lab.server.shared.connections == 1
    for _ in range(2):
        await pass_by(400_000)
    await lab.until(lambda: lab.server.shared.connections == 0)


@served()
async def test_gets_that_came_together_are_answered_together(lab: Lab) -> None:
    """The same words as one by one: there or absent, in either spelling, long or short, behind a write or not."""
    wire = await lab.connect()
    assert await wire.ask(*[f"SET k{number} {'v' * number}" for number in range(1, 40)]) == [b"OK"] * 39
    gets = [f"GET k{number}" for number in range(1, 40)]
    values = [b"v" * number for number in range(1, 40)]
    for commands, wanted in (
        (gets, values),
        ([each.replace("GET", "get") for each in gets], values),
        ([*gets, "GET absent"], [*values, None]),
        ([*gets, "GET"], [*values, "ERR wrong number of arguments for 'get' command"]),
        (["SET k1 new", *gets], [b"OK", b"new", *values[1:]]),
        ([*gets, "SET k1 newer", "GET k1"], [b"new", *values[1:], b"OK", b"newer"]),
        (gets * 20, [b"newer", *values[1:]] * 20),
    ):
        assert await wire.ask(*commands) == wanted
    await wire.ask("HELLO 3")
    assert await wire.ask("GET absent", "GET k2") == [None, b"vv"]


@served()
async def test_gets_are_no_reads_where_they_mean_more(lab: Lab) -> None:
    """In a transaction, with answers switched off, and behind a command that has not come whole."""
    wire = await lab.connect()
    assert await wire.ask("SET a 1") == b"OK"
    assert await wire.ask("MULTI") == b"OK"
    assert await wire.ask("GET a") == b"QUEUED"
    assert await wire.ask("EXEC") == [b"1"]
    await wire.send("CLIENT REPLY OFF")
    await wire.send("GET a")
    await wire.send("CLIENT REPLY ON", "GET a")
    assert await wire.answers(2) == [b"OK", b"1"]
    await wire.send("CLIENT REPLY SKIP")
    await wire.send("GET a")
    assert await wire.ask("GET a") == b"1"
    key = packed("GET", "a")
    await wire.send_bytes(packed("SET", "a", key)[:-6])
    await wire.send_bytes(key + key)
    assert await wire.answer() == b"OK"


@served()
async def test_what_a_client_did_last_is_told(lab: Lab) -> None:
    """Of GETs and SETs like of anything else."""
    wire, other = await lab.connect(), await lab.connect()
    for words in ("GET a", "SET a 1", "GET a", "STRLEN a", "get a", "set a 2"):
        await wire.ask(words)
        listed = (await other.ask("CLIENT LIST")).decode().splitlines()
        assert f" cmd={words.split(' ')[0].lower()} " in listed[0], listed


@served(connections_max=2)
async def test_one_connection_too_many_is_told_so(lab: Lab) -> None:
    """One connection too many is told so."""
    first, second = await lab.connect(), await lab.connect()
    assert await first.ask("PING") == await second.ask("PING") == b"PONG"
    third = await lab.connect()
    assert await third.answer() == "ERR max number of clients reached"
    assert await third.ended()
    first.writer.close()
    await lab.until(lambda: lab.server.shared.connections == 1)
    assert await (await lab.connect()).ask("PING") == b"PONG"


@served(idle_timeout_ms=100)
async def test_a_silent_client_is_let_go(lab: Lab) -> None:
    """A silent client is let go."""
    wire = await lab.connect()
    assert await wire.ask("PING") == b"PONG"
    assert await wire.ended()


@pytest.mark.parametrize("octets", [b"*1\r\n:1\r\n", b"*x\r\n", b"*1\r\n$-5\r\n", b"*1\r\n$99999999999\r\n"])
def test_what_is_no_command_ends_the_connection_and_no_other(octets: bytes) -> None:
    """What is no command ends the connection and no other."""

    @served()
    async def run(lab: Lab) -> None:
        wire, other = await lab.connect(), await lab.connect()
        await wire.send_bytes(packed("PING") + octets)
        assert await wire.answer() == b"PONG"
        assert (await wire.answer()).startswith("ERR Protocol error: ")
        assert await wire.ended()
        assert await other.ask("PING") == b"PONG"

    run()


@served()
async def test_wrong_commands_are_refused_in_redis_words(lab: Lab) -> None:
    """Wrong commands are refused in redis words."""
    wire = await lab.connect()
    assert await wire.ask("FOO a b") == "ERR unknown command 'FOO', with args beginning with: 'a' 'b' "
    assert await wire.ask("GET") == "ERR wrong number of arguments for 'get' command"
    assert await wire.ask("CLUSTER FOO") == "ERR unknown subcommand 'FOO'. Try CLUSTER HELP."
    assert await wire.ask("CLUSTER KEYSLOT") == "ERR wrong number of arguments for 'cluster|keyslot' command"


@served()
async def test_quit_ends_after_the_answers(lab: Lab) -> None:
    """Quit ends after the answers."""
    wire, gate = await lab.connect(), hold(lab)
    await wire.send("SET a 1", "QUIT", "SET a 2")
    await lab.until(lambda: lab.service.begun > 0)
    gate.set()
    assert await wire.answers(2) == [b"OK", b"OK"]
    assert await wire.ended()
    assert lab.service.records[b"a"].value == b"1"


@served()
async def test_a_client_that_has_said_its_last_is_answered(lab: Lab) -> None:
    """A client that has said its last is answered."""
    wire, gate = await lab.connect(), hold(lab)
    await wire.send("SET a 1", "GET a")
    wire.writer.write_eof()
    await lab.until(lambda: lab.service.begun > 0)
    gate.set()
    assert await wire.answers(2) == [b"OK", b"1"]
    assert await wire.ended()


@served()
async def test_replies_can_be_switched_off(lab: Lab) -> None:
    """Replies can be switched off."""
    wire = await lab.connect()
    await wire.send(
        "CLIENT REPLY OFF", "SET a 1", "PING", "CLIENT REPLY ON", "GET a", "CLIENT REPLY SKIP", "PING", "GET a"
    )
    assert await wire.answers(3) == [b"OK", b"1", b"1"]


@served()
async def test_keys_of_a_command_share_a_slot(lab: Lab) -> None:
    """Keys of a command share a slot."""
    wire = await lab.connect()
    refused = "CROSSSLOT Keys in request don't hash to the same slot"
    assert await wire.ask("MSET a 1 b 2", "MGET a b", "RENAME a b", "DEL a b") == [refused] * 4
    assert await wire.ask("MSET {t}a 1 {t}b 2", "MGET {t}a {t}b {t}c") == [b"OK", [b"1", b"2", None]]


# Transactions.


@served()
async def test_a_transaction_is_carried_out_at_once(lab: Lab) -> None:
    """A transaction is carried out at once."""
    wire = await lab.connect()
    queued = await wire.ask("MULTI", "SET {t}a 5", "INCR {t}a", "PING", "GET {t}a", "INCR {t}b")
    assert queued == [b"OK", *[b"QUEUED"] * 5]
    assert lab.service.records == {}
    assert await wire.ask("EXEC") == [b"OK", 6, b"PONG", b"6", 1]


@served()
async def test_an_error_in_a_transaction_undoes_nothing(lab: Lab) -> None:
    """An error in a transaction undoes nothing."""
    wire = await lab.connect()
    await wire.ask("MULTI", "SET {t}a x", "INCR {t}a", "SET {t}b 1", "SET {t}b 1 EX 0")
    answer = await wire.ask("EXEC")
    assert answer[0] == b"OK"
    assert "not an integer" in str(answer[1])
    assert answer[2] == b"OK"
    assert "invalid expire time" in str(answer[3])
    assert await wire.ask("GET {t}b") == b"1"


@served()
async def test_a_transaction_with_a_wrong_command_is_dropped(lab: Lab) -> None:
    """A transaction with a wrong command is dropped."""
    wire = await lab.connect()
    answers = await wire.ask("MULTI", "SET a 1", "FOO", "GET", "EXEC", "GET a")
    assert answers[4] == "EXECABORT Transaction discarded because of previous errors."
    assert answers[5] is None


@served()
async def test_a_watch_over_slots_spoils_a_transaction(lab: Lab) -> None:
    """As in Redis, where what crosses slots is refused before it is looked at; a WATCH that does not only fails."""
    wire = await lab.connect()
    *_, answer = await wire.ask("MULTI", "WATCH a", "EXEC")
    assert answer == []
    *_, refused, answer = await wire.ask("MULTI", "WATCH a b", "EXEC")
    assert refused.startswith("CROSSSLOT")
    assert answer.startswith("EXECABORT")
    assert await wire.ask("WATCH a b", "MULTI", "PING", "EXEC") == [refused, b"OK", b"QUEUED", [b"PONG"]]


@served()
async def test_the_words_around_transactions(lab: Lab) -> None:
    """The words around transactions."""
    wire = await lab.connect()
    assert await wire.ask("EXEC") == "ERR EXEC without MULTI"
    assert await wire.ask("DISCARD") == "ERR DISCARD without MULTI"
    answers = await wire.ask("MULTI", "MULTI", "WATCH a", "SET a 1", "DISCARD", "GET a")
    assert answers[1:] == [
        "ERR MULTI calls can not be nested",
        "ERR WATCH inside MULTI is not allowed",
        b"QUEUED",
        b"OK",
        None,
    ]


@served()
async def test_a_watched_key_that_changes_ends_the_transaction(lab: Lab) -> None:
    """A watched key that changes ends the transaction."""
    wire, other = await lab.connect(), await lab.connect()
    assert await wire.ask("SET a 1", "WATCH a", "MULTI", "SET a 2") == [b"OK", b"OK", b"OK", b"QUEUED"]
    assert await other.ask("SET a 3") == b"OK"
    assert await wire.ask("EXEC", "GET a") == [None, b"3"]
    assert await wire.ask("WATCH a", "WATCH a", "MULTI", "SET a 4", "EXEC", "GET a") == [
        *[b"OK"] * 3,
        b"QUEUED",
        [b"OK"],
        b"4",
    ]
    assert await wire.ask("WATCH nothing", "UNWATCH") == [b"OK", b"OK"]
    await other.ask("SET nothing 1")
    assert await wire.ask("MULTI", "GET nothing", "EXEC") == [b"OK", b"QUEUED", [b"1"]]


@served()
async def test_a_watched_key_ends_an_empty_transaction_too(lab: Lab) -> None:
    """A watched key ends an empty transaction too."""
    wire, other = await lab.connect(), await lab.connect()
    assert await wire.ask("WATCH a", "MULTI") == [b"OK", b"OK"]
    await other.ask("SET a 1")
    assert await wire.ask("EXEC", "MULTI", "EXEC") == [None, b"OK", []]


@served()
async def test_msetnx_in_a_transaction_undoes_nothing(lab: Lab) -> None:
    """Msetnx in a transaction undoes nothing."""
    wire = await lab.connect()
    await wire.ask("SET {t}a 1", "MULTI", "SET {t}b 2", "MSETNX {t}a 3 {t}c 3", "MSETNX {t}d 4 {t}e 5", "GET {t}d")
    assert await wire.ask("EXEC") == [b"OK", 0, 1, b"4"]
    assert await wire.ask("MGET {t}a {t}b {t}c") == [b"1", b"2", None]


@served()
async def test_all_is_answered_before_a_fault_ends_the_connection(lab: Lab) -> None:
    """All is answered before a fault ends the connection."""
    wire, gate = await lab.connect(), hold(lab)
    await wire.send_bytes(packed("SET", "a", "1") + b"*1\r\n:1\r\n" + packed("SET", "a", "2"))
    wire.writer.write_eof()
    await lab.until(lambda: lab.service.begun > 0)
    gate.set()
    assert await wire.answers(2) == [b"OK", "ERR Protocol error: expected '$', got ':'"]
    assert await wire.ended()
    assert lab.service.records[b"a"].value == b"1"


@served()
async def test_a_transaction_over_slots_is_refused(lab: Lab) -> None:
    """A transaction over slots is refused."""
    wire = await lab.connect()
    answers = await wire.ask("MULTI", "SET a 1", "SET b 1", "EXEC", "GET a", "GET b")
    assert answers[3] == "CROSSSLOT Keys in request don't hash to the same slot"
    assert answers[4:] == [None, None]


# What would hurt others, or grow.


@served(pipeline_bytes_max=64 * KIB)
async def test_an_answer_that_is_too_long_is_refused(lab: Lab) -> None:
    """An answer that is too long is refused."""
    wire = await lab.connect()
    await wire.send_bytes(packed("SET", "a", b"x" * 50_000))
    assert await wire.answer() == b"OK"
    assert (await wire.ask("MGET a a")).startswith("ERR the answer would be longer")
    await wire.ask("MULTI", "GET a", "GET a", "SET a 1")
    assert (await wire.ask("EXEC")).startswith("ERR the transaction is done; its answer")
    assert await wire.ask("GET a") == b"1"


@served(pipeline_bytes_max=64 * KIB)
async def test_what_is_watched_is_bounded(lab: Lab) -> None:
    """By the limit of a key, and in all: a client that watches on and on would take all memory."""
    wire = await lab.connect()
    await wire.send_bytes(packed("WATCH", "a" * 8193))
    assert (await wire.answer()).startswith("ERR invalid key")
    answers = []
    for number in range(10):
        await wire.send_bytes(packed("WATCH", "{a}" + str(number) * 8000))
        answers.append(await wire.answer())
    assert answers[:8] == [b"OK"] * 8
    assert all(answer.startswith("ERR the watched keys are too long together") for answer in answers[8:])
    assert await wire.ask("UNWATCH", "WATCH a") == [b"OK", b"OK"]


@served(pipeline_bytes_max=64 * KIB)
async def test_the_keys_of_a_slot_are_no_longer_than_an_answer_may_be(lab: Lab) -> None:
    """CLUSTER GETKEYSINSLOT refuses, as KEYS does."""
    wire = await lab.connect()
    for number in range(10):
        await wire.send_bytes(packed("SET", "{a}" + str(number) * 8000, "1"))
        assert await wire.answer() == b"OK"
    assert len(await wire.ask("CLUSTER GETKEYSINSLOT 15495 8")) == 8
    assert (await wire.ask("CLUSTER GETKEYSINSLOT 15495 1000000")).startswith("ERR the answer would have more than")


@served(operations_max=3)
async def test_a_command_has_so_many_keys_and_no_more(lab: Lab) -> None:
    """A command has so many keys and no more."""
    wire = await lab.connect()
    assert await wire.ask("MSET {t}a 1 {t}b 2 {t}c 3", "DEL {t}a {t}b {t}c") == [b"OK", 3]
    assert (await wire.ask("DEL {t}a {t}b {t}c {t}d")).startswith("ERR the command has too many keys")
    answers = await wire.ask("MULTI", "SET a 1", "SET a 2", "SET a 3", "SET a 4", "EXEC", "GET a")
    assert answers[4].startswith("ERR the transaction is too long")
    assert answers[5].startswith("EXECABORT")
    assert answers[6] is None


@served()
async def test_a_server_that_stops_drops_what_it_has_not_begun(lab: Lab) -> None:
    """A server that stops drops what it has not begun."""
    wire, gate = await lab.connect(), hold(lab)
    await wire.send("SET a 1", "DBSIZE", "SET a 2")
    await lab.until(lambda: lab.service.begun > 0)
    stopping = asyncio.create_task(lab.server.stop(10_000))
    await asyncio.sleep(0)
    gate.set()
    assert await wire.answer() == b"OK"
    assert await wire.ended()
    await asyncio.wait_for(stopping, 5)
    assert lab.service.records[b"a"].value == b"1"


# Outcomes.


@served(clustered=True)
async def test_what_was_not_done_does_not_follow_a_later_command(lab: Lab) -> None:
    """What was not done does not follow a later command, also when nothing else is under way by then."""
    held: list[tuple[Sequence[Operation], Reply[Sequence[Result]]]] = []
    lab.service.begin = lambda operations, deadline, reply: held.append((operations, reply))  # type: ignore[method-assign]
    wire = await lab.connect()
    await wire.send("SET a 1", "SET a 2")
    await lab.until(lambda: len(held) == 2)
    (_, first), (operations, second) = held
    second.set_result(await lab.service.write(operations, Milliseconds(0)))
    first.set_exception(NotDone("no_primary", "It was moved."))
    assert await wire.answers(2) == ["CLUSTERDOWN It was moved.", b"OK"]
    assert lab.service.records[b"a"].value == b"2"


@served(clustered=True)
async def test_what_was_not_done_is_tried_again_unless_a_later_command_was(lab: Lab) -> None:
    """What was not done is tried again, unless a later command on its key was carried out meanwhile."""
    wire, held = await lab.connect(), []

    def begin(operations: Sequence[Operation], deadline: Milliseconds, reply: Reply[Sequence[Result]]) -> None:
        held.append((operations, reply))

    lab.service.begin = begin  # type: ignore[method-assign]
    wire = await lab.connect()
    await wire.send("SET a 1", "SET b 1", "SET a 2")
    await lab.until(lambda: len(held) == 3)
    (_, first), (_, other), (operations, second) = held
    second.set_result(await lab.service.write(operations, Milliseconds(0)))
    moved = NotDone("no_primary", "It was moved.")
    first.set_exception(moved)
    other.set_exception(moved)
    assert await wire.answers(3) == ["CLUSTERDOWN It was moved.", b"OK", b"OK"]
    assert {key: record.value for key, record in lab.service.records.items()} == {b"a": b"2", b"b": b"1"}


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (NotDone("no_primary", "Nobody leads."), "CLUSTERDOWN Nobody leads."),
        (NotDone("too_few_copies", "One of two."), "NOREPLICAS One of two."),
        (NotDone("overloaded", "Too much."), "TRYAGAIN Too much."),
        (OutcomeUnknown("deadline_passed", "Who knows."), "UNKNOWN Who knows."),
        # Found by a fault campaign: the code alone said NOREPLICAS, which promises that nothing was done.
        (OutcomeUnknown("too_few_copies", "One of two has it."), "UNKNOWN One of two has it."),
        (Broken("storage_unreadable", "Look at the disk."), "UNKNOWN Look at the disk."),
    ],
)
def test_what_is_no_success_has_its_word(error: Exception, words: str) -> None:
    """What is no success has its word."""

    @served()
    async def run(lab: Lab) -> None:
        wire = await lab.connect()
        lab.service.arranged = error
        assert await wire.ask("SET a 1", "GET a", "PING") == [words, words, b"PONG"]

    run()


# The two kinds of client.


@served(clustered=True)
async def test_a_plain_client_is_forwarded_for(lab: Lab) -> None:
    """A plain client is forwarded for."""
    lab.service.elsewhere.add(b"a")
    wire = await lab.connect()
    assert await wire.ask("SET a 1", "GET a") == [b"OK", b"1"]


@served(clustered=True)
async def test_a_cluster_client_is_sent_to_the_primary(lab: Lab) -> None:
    """A cluster client is sent to the primary."""
    lab.service.elsewhere.add(b"a")
    for wire in (await lab.connect(cluster=True), await lab.connect()):
        await wire.ask("CLUSTER SLOTS")
        assert (await wire.ask("GET a")).startswith("MOVED 15495 ")
        assert (await wire.ask("SET a 1")).startswith("MOVED 15495 ")
        assert await wire.ask("SET b 1", "GET b") == [b"OK", b"1"]
        assert await wire.ask("READONLY", "GET a") == [b"OK", None]
        assert (await wire.ask("MULTI", "GET a"))[1].startswith("MOVED 15495 ")
        assert (await wire.ask("EXEC")).startswith("EXECABORT")
    by_map = await lab.connect(cluster=True)
    assert await by_map.ask("RESET") == b"RESET"
    assert (await by_map.ask("GET a")).startswith("MOVED 15495 ")


@served()
async def test_the_map_covers_all_slots(lab: Lab) -> None:
    """The map covers all slots."""
    wire = await lab.connect()
    slots = await wire.ask("CLUSTER SLOTS")
    assert [(first, last) for first, last, *_ in slots] == [(0, 16_383)]
    (shard,) = await wire.ask("CLUSTER SHARDS")
    assert shard[:2] == [b"slots", [0, 16_383]]
    info = (await wire.ask("CLUSTER INFO")).decode()
    assert "cluster_state:ok" in info
    assert "cluster_slots_ok:16384" in info
    assert (await wire.ask("CLUSTER NODES")).decode().count("\n") == 1
    assert len(await wire.ask("CLUSTER MYID")) == 40
    assert await wire.ask("CLUSTER KEYSLOT {a}b") == 15_495
    await wire.ask("SET {a}1 1", "SET {a}2 2", "SET b 3")
    assert await wire.ask("CLUSTER COUNTKEYSINSLOT 15495") == 2
    assert await wire.ask("CLUSTER GETKEYSINSLOT 15495 1") == [b"{a}1"]
    assert await wire.ask("CLUSTER COUNTKEYSINSLOT 16384") == "ERR Invalid slot"


@served()
async def test_a_server_that_stops_answers_what_is_under_way(lab: Lab) -> None:
    """A server that stops answers what is under way."""
    wire, idle, gate = await lab.connect(), await lab.connect(), hold(lab)
    assert await idle.ask("PING") == b"PONG"
    await wire.send("SET a 1")
    await lab.until(lambda: lab.service.begun > 0)
    stopping = asyncio.create_task(lab.server.stop(10_000))
    assert await idle.ended()
    gate.set()
    assert await wire.answer() == b"OK"
    assert await wire.ended()
    await stopping
