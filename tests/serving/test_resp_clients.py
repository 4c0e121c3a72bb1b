"""The commands by which clients say who they are, and COMMAND. The words are those of Redis 7.0.15."""

from typing import Any

import pytest

from corecache.serving.resp.commands import clients, introspection
from corecache.serving.resp.commands.command import Arguments, Command, Plan
from corecache.wire.resp import Reply, Set, Status, Verbatim
from serving.resp_session import FakeServer, ask

OK = Status("OK")
ABOUT = {"server": "redis", "version": "7.0.15", "mode": "standalone", "role": "master", "modules": []}


def told(*words: str | bytes) -> Any:
    """Returns the reply to a command."""
    return ask(clients.COMMANDS, FakeServer().connect(), *words)


@pytest.mark.parametrize(
    ("words", "reply"),
    [
        (("PING",), Status("PONG")),
        (("ping", b"\xff"), b"\xff"),
        (("ping", "a", "b"), "-ERR wrong number of arguments for 'ping' command"),
        (("echo", "a"), b"a"),
        (("auth", "default", "any"), OK),
        (
            ("auth", "x"),
            "-ERR AUTH <password> called without any password configured for the default user. "
            "Are you sure your configuration is correct?",
        ),
        (("auth", "x", "y"), "-WRONGPASS invalid username-password pair or user is disabled."),
        (("auth", "x", "y", "z"), "-ERR syntax error"),
        (("select", "0"), OK),
        (("select", "1"), "-ERR DB index is out of range"),
        (("select", "-1"), "-ERR DB index is out of range"),
        (("select", "x"), "-ERR value is not an integer or out of range"),
        (("client", "setname", "a b"), "-ERR Client names cannot contain spaces, newlines or special characters."),
        (
            ("client", "setinfo", "lib-name", "a\n"),
            "-ERR lib-name cannot contain spaces, newlines or special characters.",
        ),
        (("client", "setinfo", "other", "a"), "-ERR Unrecognized option 'other'"),
        (("client", "no-evict", "maybe"), "-ERR syntax error"),
        (("client", "no-touch", "maybe"), "-ERR syntax error"),
        (("client", "reply", "maybe"), "-ERR syntax error"),
        (("client", "list", "type", "foo"), "-ERR Unknown client type 'foo'"),
        (("client", "list", "type"), "-ERR syntax error"),
        (("client", "list", "id"), "-ERR syntax error"),
        (("client", "list", "foo"), "-ERR syntax error"),
        (("client", "list", "id", "x"), "-ERR Invalid client ID"),
        (("client", "id", "x"), "-ERR wrong number of arguments for 'client|id' command"),
        (("client", "getname"), None),
    ],
)
def test_answers_and_errors_are_those_of_redis(words: tuple[str | bytes, ...], reply: object) -> None:
    """Answers and errors are those of Redis."""
    assert told(*words) == reply


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("4",), "-NOPROTO unsupported protocol version"),
        (("x",), "-ERR Protocol version is not an integer or out of range"),
        (("3", "auth"), "-ERR Syntax error in HELLO option 'auth'"),
        (("3", "auth", "default"), "-ERR Syntax error in HELLO option 'auth'"),
        (("3", "auth", "foo", "x"), "-WRONGPASS invalid username-password pair or user is disabled."),
        (("3", "setname", "a", "setname"), "-ERR Syntax error in HELLO option 'setname'"),
        (("3", "setname", "a b"), "-ERR Client names cannot contain spaces, newlines or special characters."),
        (("3", "SETNAME", "abc", "foo"), "-ERR Syntax error in HELLO option 'foo'"),
        (("3", b"\xff\0more"), "-ERR Syntax error in HELLO option '\udcff'"),
    ],
)
def test_a_refused_hello_changes_nothing(words: tuple[str, ...], error: str) -> None:
    """A refused HELLO changes nothing."""
    session = FakeServer().connect()
    assert ask(clients.COMMANDS, session, "hello", *words) == error
    assert (session.protocol, session.name) == (2, b"")


def test_hello_agrees_on_the_protocol_and_tells_who_answers() -> None:
    """HELLO agrees on the protocol and tells who answers."""
    session = FakeServer().connect()
    assert ask(clients.COMMANDS, session, "hello") == ABOUT | {"proto": 2, "id": 1}
    words = ("hello", "3", "AUTH", "default", "x", "SETNAME", "me")
    assert ask(clients.COMMANDS, session, *words) == ABOUT | {"proto": 3, "id": 1}
    assert (session.protocol, session.name) == (3, b"me")


def test_a_node_of_a_cluster_says_so() -> None:
    """A node of a cluster says so."""
    session = FakeServer(clustered=True).connect()
    assert ask(clients.COMMANDS, session, "hello")["mode"] == "cluster"
    assert ask(clients.COMMANDS, session, "select", "1") == "-ERR SELECT is not allowed in cluster mode"
    assert ask(clients.COMMANDS, session, "select", "0") == OK


def test_what_is_said_is_kept_and_reset_forgets_it() -> None:
    """What is said is kept and RESET forgets it."""
    session = FakeServer().connect()
    said = (
        ("client", "setname", "me"),
        ("client", "setinfo", "LIB-NAME", "lib"),
        ("client", "setinfo", "lib-ver", "1.2"),
        ("client", "no-evict", "ON"),
        ("client", "no-touch", "on"),
        ("readonly",),
    )
    assert [ask(clients.COMMANDS, session, *words) for words in said] == [OK] * len(said)
    assert ask(clients.COMMANDS, session, "client", "getname") == b"me"
    line = ask(clients.COMMANDS, session, "client", "info").text
    assert " name=me " in line
    assert " flags=reT " in line
    assert line.endswith(" lib-name=lib lib-ver=1.2\n")
    assert ask(clients.COMMANDS, session, "reset") == Status("RESET")
    assert " flags=N " in ask(clients.COMMANDS, session, "client", "info").text
    assert ask(clients.COMMANDS, session, "client", "getname") is None


def test_readwrite_takes_readonly_back() -> None:
    """READWRITE takes READONLY back."""
    session = FakeServer().connect()
    session.readonly = True
    assert ask(clients.COMMANDS, session, "readwrite") == OK
    assert not session.readonly


def test_quit_ends() -> None:
    """QUIT ends."""
    session = FakeServer().connect()
    assert ask(clients.COMMANDS, session, "quit", "now") == OK
    assert session.quits


def test_replies_are_turned_off_and_on() -> None:
    """Replies are turned off and on."""
    session = FakeServer().connect()
    for mode, expected in (("skip", "skip"), ("off", "off"), ("SKIP", "off"), ("on", "on")):
        ask(clients.COMMANDS, session, "client", "reply", mode)
        assert session.replies == expected


def test_the_list_has_a_line_for_each_client() -> None:
    """The list has a line for each client."""
    server = FakeServer()
    one, other = server.connect(), server.connect()
    other.command = "get"
    other.queued = []
    server.clock.date = one.born_ms + 2500
    listed = ask(clients.COMMANDS, one, "client", "list")
    assert isinstance(listed, Verbatim)
    lines = listed.text.splitlines()
    assert [line.split(" ")[0] for line in lines] == ["id=1", "id=2"]
    fields = dict(field.split("=", 1) for field in lines[1].split(" "))
    expected = {"addr": "127.0.0.1:50002", "laddr": "127.0.0.1:6379", "age": "2", "idle": "2", "flags": "x"}
    expected |= {"multi": "0", "cmd": "get", "resp": "2", "user": "default", "db": "0"}
    assert fields.items() >= expected.items()
    assert ask(clients.COMMANDS, one, "client", "list", "TYPE", "normal").text == listed.text
    assert ask(clients.COMMANDS, one, "client", "list", "type", "replica").text == ""
    assert ask(clients.COMMANDS, one, "client", "list", "id", "2", "99").text == lines[1] + "\n"


def a_plan(_: Arguments, __: object) -> Plan:
    """Stands for a command with keys."""
    return Plan((), lambda _: None)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> dict[bytes, Command]:
    """A small table: commands with keys, one with subcommands, and those of this test's modules."""
    keyed = [
        Command("get", 2, ("readonly", "fast"), 1, 1, 1, ("read", "string", "fast"), summary="Reads.", plan=a_plan),
        Command("mset", -3, ("write", "denyoom"), 1, -1, 2, ("write", "string", "slow"), plan=a_plan),
        Command(
            "object",
            -2,
            group="generic",
            since="2.2.3",
            subcommands=(Command("object|encoding", 3, ("readonly",), 2, 2, 1, plan=a_plan),),
        ),
    ]
    commands = {each.name.encode(): each for each in (*keyed, *clients.COMMANDS, *introspection.COMMANDS)}
    monkeypatch.setattr(introspection, "table", lambda: commands)
    return commands


def words(*texts: str) -> Set:
    """Returns a set of simple strings."""
    return Set(tuple(Status(text) for text in texts))


def command(*words: str) -> Any:
    """Returns the reply to COMMAND."""
    return ask(introspection.COMMANDS, FakeServer().connect(), "command", *words)


def test_commands_are_described_in_ten_elements(known: dict[bytes, Command]) -> None:
    """Commands are described in ten elements."""
    spec: Reply = {
        "flags": words("RO", "access"),
        "begin_search": {"type": "index", "spec": {"index": 1}},
        "find_keys": {"type": "range", "spec": {"lastkey": 0, "keystep": 1, "limit": 0}},
    }
    categories = words("@read", "@string", "@fast")
    get = ["get", 2, words("readonly", "fast"), 1, 1, 1, categories, Set(()), Set((spec,)), Set(())]
    assert command("info", "GET", "nope") == [get, None]
    (mset,) = command("info", "mset")[0][8].items
    assert mset["find_keys"] == {"type": "range", "spec": {"lastkey": -1, "keystep": 2, "limit": 0}}
    assert mset["flags"] == words("RW", "access", "update")
    flags, categories = words("noscript", "loading", "stale"), words("@slow", "@connection")
    client_id = ["client|id", 2, flags, 0, 0, 0, categories, *[Set(())] * 3]
    assert command("info", "client|id", "client|nope") == [client_id, None]
    assert client_id in command("info", "client")[0][9].items
    assert command() == command("info")
    assert command("count") == len(known) == len(command())


@pytest.mark.usefixtures("known")
def test_commands_are_documented() -> None:
    """Commands are documented."""
    assert command("docs", "get", "nope") == {"get": {"summary": "Reads.", "since": "1.0.0", "group": "string"}}
    subcommands = command("docs", "client")["client"]["subcommands"]
    assert subcommands["client|id"]["group"] == "connection"
    assert command("docs").keys() >= {"get", "ping", "command"}


@pytest.mark.usefixtures("known")
def test_commands_are_listed_and_filtered() -> None:
    """Commands are listed and filtered."""
    assert {"get", "client", "client|id"} <= set(command("list"))
    assert command("list", "filterby", "module", "x") == []
    assert command("list", "filterby", "aclcat", "STRING") == ["get", "mset"]
    assert command("list", "FILTERBY", "pattern", "CLIENT|I*") == ["client|id", "client|info"]
    for words in (("foo",), ("filterby",), ("filterby", "foo", "bar")):
        assert command("list", *words) == "-ERR syntax error"


@pytest.mark.usefixtures("known")
def test_keys_are_found_in_commands() -> None:
    """Keys are found in commands."""
    assert command("getkeys", "mset", "a", "b", "c", "d") == [b"a", b"c"]
    assert command("getkeys", "object", "encoding", "k") == [b"k"]
    assert command("getkeysandflags", "get", "a") == [[b"a", words("RO", "access")]]
    assert command("getkeys", "nope", "a") == "-ERR Invalid command specified"
    assert command("getkeys", "object", "nope", "k") == "-ERR Invalid command specified"
    assert command("getkeys", "ping", "x") == "-ERR The command has no key arguments"
    assert command("getkeys", "get", "a", "b") == "-ERR Invalid number of arguments specified for command"
    assert command("getkeys", "get") == "-ERR wrong number of arguments for 'command|getkeys' command"


@pytest.mark.parametrize("commands", [clients.COMMANDS, introspection.COMMANDS])
def test_help_names_each_subcommand(commands: tuple[Command, ...]) -> None:
    """HELP names each subcommand."""
    for each in commands:
        if each.subcommands:
            lines = {line.text.split(" ")[0] for line in ask(commands, FakeServer().connect(), each.name, "help")}
            assert {sub.name.partition("|")[2].upper() for sub in each.subcommands} <= lines
