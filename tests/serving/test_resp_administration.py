"""INFO, TIME, CONFIG, SLOWLOG, LATENCY, WAIT and their like. The words are those of Redis 7.0.15."""

import msgspec
import pytest

from corecache.config import Config, Replication, parse
from corecache.identity import Epoch, Incarnation, Lineage, Member, NodeId, ReplicaId
from corecache.placement.view import View
from corecache.serving.resp.commands import administration, configuration, information, latency, slow_log
from corecache.serving.resp.commands.latency import Latencies
from corecache.serving.resp.commands.slow_log import SlowLog
from corecache.serving.resp.session import Session
from corecache.wire.resp import Reply, Status, Verbatim
from serving.resp_session import FakeServer, ask

OK = Status("OK")
COMMANDS = (
    *administration.COMMANDS,
    *configuration.COMMANDS,
    *information.COMMANDS,
    *latency.COMMANDS,
    *slow_log.COMMANDS,
)


def told(session: Session, *words: str | bytes) -> object:
    """Returns the reply to a command."""
    return ask(COMMANDS, session, *words)


def text_of(reply: object) -> str:
    """Returns the text of a verbatim string."""
    assert isinstance(reply, Verbatim)
    return reply.text


def sections_of(reply: object) -> dict[str, dict[str, str]]:
    """Reads INFO as clients do."""
    found: dict[str, dict[str, str]] = {}
    for line in text_of(reply).split("\r\n"):
        if line.startswith("# "):
            section = found.setdefault(line[2:], {})
        elif line:
            name, value = line.split(":", 1)
            section[name] = value
    return found


def test_info_tells_all_sections_but_the_one_that_is_dear() -> None:
    """INFO tells all sections but the one that is dear."""
    server = FakeServer()
    server.commands_total = 7
    told_of = sections_of(told(server.connect(), "info"))
    assert list(told_of) == [
        "Server",
        "Clients",
        "Memory",
        "Persistence",
        "Stats",
        "Replication",
        "CPU",
        "Cluster",
    ]
    assert told_of["Server"]["redis_version"] == "7.0.15"
    assert told_of["Server"]["redis_mode"] == "standalone"
    assert told_of["Server"]["tcp_port"] == "6379"
    assert told_of["Clients"]["connected_clients"] == "1"
    assert int(told_of["Memory"]["used_memory_peak"]) >= int(told_of["Memory"]["used_memory"]) > 1_000_000
    assert told_of["Memory"]["used_memory_human"].endswith("M")
    assert told_of["Persistence"]["loading"] == "0"
    assert told_of["Stats"]["total_commands_processed"] == "7"
    assert told_of["Replication"]["role"] == "master"
    assert told_of["Replication"]["corecache_partitions_led"] == "1"
    assert float(told_of["CPU"]["used_cpu_user"]) > 0
    assert told_of["Cluster"] == {"cluster_enabled": "0"}
    assert "# Server\r\nredis_version:7.0.15\r\n" in text_of(told(server.connect(), "info", "everything"))


def test_info_tells_the_sections_that_are_asked_for() -> None:
    """INFO tells the sections that are asked for."""
    session = FakeServer(clustered=True).connect()
    assert sections_of(told(session, "info", "CLUSTER")) == {"Cluster": {"cluster_enabled": "1"}}
    assert list(sections_of(told(session, "info", "cpu", "nope", "server"))) == ["Server", "CPU"]
    assert text_of(told(session, "info", "nope")) == ""


def test_info_counts_keys_when_asked() -> None:
    """INFO counts keys when asked."""
    server = FakeServer()
    session = server.connect()
    assert text_of(told(session, "info", "keyspace")) == "# Keyspace\r\n"
    server.clock.date = now = server.clock.today()
    server.put(b"a", b"b")
    server.put(b"c", expires=now + 100_000)
    server.put(b"d", expires=now + 300_000)
    assert sections_of(told(session, "info", "keyspace"))["Keyspace"] == {"db0": "keys=4,expires=2,avg_ttl=200000"}


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0B"), (1023, "1023B"), (1024, "1.00K"), (1_733_384, "1.65M"), (25_276_510_208, "23.54G")]
)
def test_sizes_are_shown_as_in_redis(count: int, shown: str) -> None:
    """Sizes are shown as in Redis."""
    assert information._human(count) == shown


def test_the_time_is_in_seconds_and_microseconds() -> None:
    """The time is in seconds and microseconds."""
    server = FakeServer()
    server.clock.date = 1_700_000_000_042
    assert told(server.connect(), "time") == ["1700000000", "42000"]


def test_lolwut_tells_the_version() -> None:
    """LOLWUT tells the version; what Redis's drawings take must be numbers."""
    session = FakeServer().connect()
    for line in ("", " version", " VERSION 5 1", " foo", " version 7 x", " version 6 1 2 x"):
        assert text_of(told(session, *f"lolwut{line}".split())).startswith("CoreCache ver. ")
    for line in ("version x", "version 5 1 2 x", "version 6 x", "version 4294967301 x"):
        assert told(session, "lolwut", *line.split()) == "-ERR value is not an integer or out of range"


def test_settings_are_told_under_the_names_of_redis() -> None:
    """Settings are told under the names of Redis."""
    session = FakeServer(connections_max=5, idle_timeout_ms=1500).connect()
    expected = {"maxclients": "5", "maxmemory": "0", "maxmemory-policy": "noeviction"}
    assert told(session, "config", "get", "MAX*", "maxclients") == expected
    assert told(session, "config", "get", "timeout") == {"timeout": "2"}
    assert told(session, "config", "get", "save", "append*") == {
        "appendfsync": "always",
        "appendonly": "yes",
        "save": "",
    }
    assert told(session, "config", "get", "nope") == {}
    assert told(session, "config", "get") == "-ERR wrong number of arguments for 'config|get' command"


def test_settings_are_not_changed() -> None:
    """Settings are not changed."""
    session = FakeServer().connect()
    refused = told(session, "config", "set", "maxclients", "1")
    assert str(refused).startswith("-ERR CONFIG SET failed (possibly related to argument 'maxclients') - can't set")
    unknown = "-ERR Unknown option or number of arguments for CONFIG SET - 'foo'"
    assert told(session, "config", "set", "maxclients", "1", "foo", "bar") == unknown
    assert told(session, "config", "set", "maxclients", "1", "foo") == "-ERR syntax error"
    assert str(told(session, "config", "rewrite")).startswith("-ERR CONFIG REWRITE is not supported")


def test_resetstat_counts_anew() -> None:
    """RESETSTAT counts anew."""
    server = FakeServer()
    session = server.connect()
    server.commands_total = server.refused_total = 5
    server.latencies.observe("get", 10)
    assert told(session, "config", "resetstat") == OK
    assert (server.commands_total, server.refused_total, server.connections_total) == (0, 0, 1)
    assert told(session, "latency", "histogram") == {}


def test_the_slow_log_shows_the_newest_first() -> None:
    """The slow log shows the newest first."""
    server = FakeServer(slowlog_entries_max=12)
    server.clock.date = 1_700_000_000_999
    session = server.connect()
    for number in range(15):
        server.note_slow(session, [b"get", b"%d" % number], 100 + number)
    session.name = b"me"
    server.note_slow(session, [b"ping"], 7)
    assert told(session, "slowlog", "len") == 12
    shown = told(session, "slowlog", "get", "2")
    assert shown == [
        [15, 1_700_000_000, 7, [b"ping"], "127.0.0.1:50001", b"me"],
        [14, 1_700_000_000, 114, [b"get", b"14"], "127.0.0.1:50001", b""],
    ]
    assert [len(each) for each in (told(session, "slowlog", "get"), told(session, "slowlog", "get", "-1"))] == [10, 12]  # type: ignore[arg-type]
    for words in (("x",), ("-2",)):
        assert told(session, "slowlog", "get", *words) == "-ERR count should be greater than or equal to -1"
    assert told(session, "slowlog", "get", "1", "2") == (
        "-ERR unknown subcommand or wrong number of arguments for 'get'. Try SLOWLOG HELP."
    )
    assert told(session, "slowlog", "reset") == OK
    assert told(session, "slowlog", "get") == []


def test_the_slow_log_keeps_part_of_long_commands_and_no_passwords() -> None:
    """The slow log keeps part of long commands and no passwords."""
    log = SlowLog(10)
    log.note(0, 1, [b"mset", *(b"%d" % number for number in range(36))], "", b"")
    log.note(0, 1, [b"set", b"k", b"x" * 200], "", b"")
    log.note(0, 1, [b"x"] * 32, "", b"")
    log.note(0, 1, [b"AUTH", b"me", b"secret"], "", b"")
    log.note(0, 1, [b"hello", b"3", b"Auth", b"me", b"secret", b"setname", b"a"], "", b"")
    hello, auth, whole, long, many = (each.arguments for each in log.entries)
    assert len(many) == 32
    assert many[30:] == (b"29", b"... (6 more arguments)")
    assert long[2] == b"x" * 128 + b"... (72 more bytes)"
    assert whole == (b"x",) * 32
    assert auth == (b"AUTH", b"(redacted)", b"(redacted)")
    assert hello == (b"hello", b"3", b"Auth", b"(redacted)", b"(redacted)", b"setname", b"a")


def test_a_slow_log_may_be_off() -> None:
    """A slow log may be off."""
    log = SlowLog(0)
    log.note(0, 1, [b"get"], "", b"")
    assert not log.entries


def test_what_takes_long_is_told() -> None:
    """What takes long is told."""
    server = FakeServer(latency_ms=10)
    session = server.connect()
    for now_ms, took_us in ((1000, 9_999), (2000, 20_900), (2900, 30_000), (2950, 25_000), (5000, 12_000)):
        server.latencies.note("command", now_ms, took_us)
    assert told(session, "latency", "latest") == [["command", 5, 12, 30]]
    assert told(session, "latency", "history", "command") == [[2, 30], [5, 12]]
    assert told(session, "latency", "history", "other") == []
    graph = text_of(told(session, "latency", "graph", "command")).splitlines()
    assert graph == ["command - high 30 ms, low 12 ms (all time high 30 ms)", "# ", "# ", "# ", "##"]
    assert told(session, "latency", "graph", "other") == "-ERR No samples available for event 'other'"
    assert "command: 2 seconds, 21 ms on average, 30 ms at the most" in text_of(told(session, "latency", "doctor"))
    assert told(session, "latency", "reset", "other") == 0
    assert told(session, "latency", "reset") == 1
    assert told(session, "latency", "latest") == []
    assert "Nothing has taken 10 ms" in text_of(told(session, "latency", "doctor"))


def test_what_takes_long_is_not_measured_unless_asked_for() -> None:
    """What takes long is not measured unless asked for."""
    latencies = Latencies(0)
    latencies.note("command", 1, 10**9)
    assert not latencies.events
    assert "resp.latency_ms is 0" in text_of(told(FakeServer(latency_ms=0).connect(), "latency", "doctor"))


def test_samples_and_events_are_bounded() -> None:
    """Samples and events are bounded."""
    latencies = Latencies(1)
    for second in range(1000):
        latencies.note("command", second * 1000, 1000)
        latencies.note(f"event-{second}", second * 1000, 1000)
    assert len(latencies.events["command"].samples) == 160
    assert len(latencies.events) == 64


def test_commands_are_counted_by_how_long_they_took() -> None:
    """Commands are counted by how long they took."""
    server = FakeServer()
    for took_us in (0, 1, 3, 3, 100):
        server.latencies.observe("get", took_us)
    server.latencies.observe("client|id", 2**70)
    session = server.connect()
    get: dict[Reply, Reply] = {"calls": 5, "histogram_usec": {1: 1, 2: 2, 4: 4, 128: 5}}
    client_id = {"calls": 1, "histogram_usec": {2**64: 1}}
    assert told(session, "latency", "histogram") == {"get": get, "client|id": client_id}
    assert told(session, "latency", "histogram", "GET", "nope") == {"get": get}
    assert told(session, "latency", "histogram", "client") == {"client|id": client_id}


def copied(server: FakeServer, *in_sync: int) -> None:
    """Makes a cluster of partitions with so many copies in sync."""
    report = server.service.cluster()
    partitions = []
    for copies in in_sync:
        members = tuple(Member(NodeId(f"n{number}"), ReplicaId("r")) for number in range(copies))
        view = View(Lineage(1), Epoch(1), members[0], Incarnation(1), members, ()) if members else None
        partitions.append(msgspec.structs.replace(report.partitions[0], view=view))
    server.service.reported = msgspec.structs.replace(report, partitions=tuple(partitions))


def test_wait_tells_how_many_copies_every_partition_has() -> None:
    """WAIT tells how many copies every partition has."""
    server = FakeServer()
    session = server.connect()
    assert told(session, "wait", "1", "100") == 0
    copied(server, 3, 2, 0, 3)
    assert told(session, "wait", "5", "0") == 1
    assert told(session, "waitaof", "1", "5", "0") == [1, 1]
    server.config = msgspec.structs.replace(server.config, replication=Replication(durability="os"))
    assert told(session, "waitaof", "1", "5", "0") == [0, 0]
    copied(server, 0)
    assert told(session, "wait", "0", "0") == 0


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("wait", "x", "0"), "-ERR value is not an integer or out of range"),
        (("wait", "0", "x"), "-ERR timeout is not an integer or out of range"),
        (("wait", "0", "-1"), "-ERR timeout is negative"),
        (("waitaof", "2", "0", "0"), "-ERR value is out of range, value must between 0 and 1"),
        (("waitaof", "1", "-1", "0"), "-ERR value is out of range, must be positive"),
        (("waitaof", "1", "x", "0"), "-ERR value is out of range, must be positive"),
        (("waitaof", "x", "1", "0"), "-ERR value is not an integer or out of range"),
        (("waitaof", "1", "1", "-1"), "-ERR timeout is negative"),
    ],
)
def test_waiting_judges_its_arguments(words: tuple[str, ...], error: str) -> None:
    """Waiting judges its arguments."""
    assert told(FakeServer().connect(), *words) == error


def test_debug_is_there_only_if_it_is_allowed() -> None:
    """DEBUG is there only if it is allowed."""
    refused = told(FakeServer().connect(), "debug", "sleep", "0")
    assert str(refused).startswith("-ERR DEBUG command not allowed.")
    session = FakeServer(debug_commands="yes").connect()
    assert told(session, "debug", "SLEEP", "0.001") == OK
    for seconds in ("x", "-1", "nan", "inf"):
        assert told(session, "debug", "sleep", seconds) == "-ERR value is not a valid float"
    for words in (("sleep",), ("foo",), ("jmap",)):
        assert told(session, "debug", *words) == (
            f"-ERR unknown subcommand or wrong number of arguments for '{words[0]}'. Try DEBUG HELP."
        )
    lines = told(session, "debug", "help")
    assert isinstance(lines, list)
    assert Status("SLEEP <seconds>") in lines


@pytest.mark.parametrize("name", ["config", "latency", "slowlog"])
def test_help_names_each_subcommand(name: str) -> None:
    """HELP names each subcommand."""
    command = next(each for each in COMMANDS if each.name == name)
    lines = told(FakeServer().connect(), name, "HELP")
    assert isinstance(lines, list)
    shown = {line.text.split(" ")[0] for line in lines}
    assert {each.name.partition("|")[2].upper() for each in command.subcommands} <= shown


def test_the_settings_told_follow_the_configuration() -> None:
    """The settings told follow the configuration."""
    server = FakeServer()
    server.config = parse({"replication": {"durability": "os"}, "resp": {"debug_commands": "yes"}})
    assert isinstance(server.config, Config)
    settings = configuration.settings_of(server)
    assert (settings["appendfsync"], settings["enable-debug-command"]) == ("no", "yes")
