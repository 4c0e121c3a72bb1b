"""The short cut of a stream of nothing but GETs: it says what `Requests` says, or nothing."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from corecache.wire.resp_command import command
from corecache.wire.resp_gets import keys_of_gets
from corecache.wire.resp_requests import Requests

WORDS = st.sampled_from([b"GET", b"get", b"Get", b"DEL", b"GE", b"GET\r"])
KEYS = st.one_of(st.binary(max_size=12), st.sampled_from([b"k", b"\r\n", b"*2\r\n$3\r\nGET\r\n$1\r\nk", b"x" * 1023]))
COMMANDS = st.tuples(WORDS, KEYS).map(lambda words: command(*words))
PIECES = st.sampled_from([b"\r\n", b"*2", b"$3", b"GET", b"$1", b"k", b"$0", b"$-1", b"", b"*1", b"$01", b"\n", b"$"])


def requests_of(octets: bytes) -> list[list[bytes]]:
    """Returns the commands of a stream; requires that it has no fault, and asserts that nothing of it is left."""
    requests, commands = Requests(1 << 20, 1 << 20), list[list[bytes]]()
    requests.feed(octets)
    while (words := requests.next()) is not None:
        commands.append(words)
    assert requests.waiting_bytes == 0
    return commands


@pytest.mark.parametrize("count", [1, 2, 16, 300])
@pytest.mark.parametrize("name", [b"GET", b"get"])
def test_a_pipeline_of_gets_is_cut(name: bytes, count: int) -> None:
    """One or many, in either spelling."""
    keys = [b"key:%d" % (number**3) for number in range(count)]
    assert keys_of_gets(b"".join([command(name, key) for key in keys])) == keys


@pytest.mark.parametrize("at", range(3))
@pytest.mark.parametrize(
    "other",
    [
        command(b"SET", b"k"),
        command(b"get", b"k"),
        command(b"GET", b""),
        command(b"GET", b"a\r\nb"),
        command(b"GET", b"x" * 1024),
        command(b"GET", b"k", b"l"),
        command(b"PING"),
        b"GET k\r\n",
        b"*2\r\n$3\r\nGET\r\n$2\r\nk\r\n",
        b"*2\r\n$3\r\nGET\r\n$01\r\nk\r\n",
        b"\r\n",
    ],
)
def test_whatever_else_comes_is_not_cut(other: bytes, at: int) -> None:
    """First, last or in the midst of GETs."""
    commands = [command(b"GET", b"a"), command(b"GET", b"b")]
    commands.insert(at, other)
    assert keys_of_gets(b"".join(commands)) is None


@pytest.mark.parametrize("count", [1, 3])
def test_what_is_not_whole_is_not_cut(count: int) -> None:
    """Wherever the end is missing."""
    stream = command(b"GET", b"key") * count
    whole = {len(command(b"GET", b"key")) * number for number in range(1, count + 1)}
    for end in range(len(stream)):
        assert (keys_of_gets(stream[:end]) is not None) == (end in whole), end


@given(st.one_of(st.lists(COMMANDS, max_size=5).map(b"".join), st.lists(PIECES, max_size=30).map(b"\r\n".join)))
@example(b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*2\r\n$3\r\nGET\r\n$1\r\n\r\n\r\n")
def test_it_says_what_the_parser_says(octets: bytes) -> None:
    """For any stream that it does not leave to it."""
    keys = keys_of_gets(octets)
    if keys is not None:
        assert [[words[0].upper(), words[1]] for words in requests_of(octets)] == [[b"GET", key] for key in keys]
