"""Redis's protocol: commands come out of a stream however it is cut, and faults have Redis's words.

The words were looked up in a Redis 7.0.15; whole streams are compared with a parser that is as plain as can be.
"""

import re
import time
import tracemalloc
from collections.abc import Iterable
from typing import TypeAlias

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from corecache.wire.resp_command import command
from corecache.wire.resp_requests import WORDS_MAX, ProtocolFault, Requests

BULK_MAX = 8 * 1024 * 1024
REQUEST_MAX = 64 * 1024 * 1024

Outcome: TypeAlias = tuple[list[list[bytes]], str | None]


def outcome(pieces: Iterable[bytes], bulk_max: int = BULK_MAX, request_max: int = REQUEST_MAX) -> Outcome:
    """Returns the commands of a stream that comes in pieces, and the fault that ends it."""
    requests, commands, fed = Requests(bulk_max, request_max), list[list[bytes]](), 0
    for piece in pieces:
        requests.feed(piece)
        fed += len(piece)
        try:
            while (words := requests.next()) is not None:
                commands.append(words)
                assert 0 <= requests.waiting_bytes <= fed
        except ProtocolFault as fault:
            return commands, str(fault)
        assert not requests.has_more
    return commands, None


def cut(stream: bytes, sizes: Iterable[int]) -> list[bytes]:
    """Returns a stream in pieces of the sizes, and the rest."""
    pieces, at = [], 0
    for size in sizes:
        pieces.append(stream[at : at + size])
        at += size
    return [*pieces, stream[at:]]


def every_byte(stream: bytes) -> list[bytes]:
    """Returns a stream in pieces of a byte."""
    return [stream[at : at + 1] for at in range(len(stream))]


def plain_outcome(stream: bytes, bulk_max: int, request_max: int) -> Outcome:
    """Parses a whole stream in the plainest way: what `Requests` must come to."""
    commands: list[list[bytes]] = []
    try:
        while True:
            words, stream = plain_command(stream, bulk_max, request_max)
            if words:
                commands.append(words)
    except EOFError:
        return commands, None
    except ProtocolFault as fault:
        return commands, str(fault)


def plain_command(stream: bytes, bulk_max: int, request_max: int) -> tuple[list[bytes], bytes]:
    """Returns the next command and what follows it."""
    if not stream.startswith(b"*"):
        line, rest = plain_line(stream, b"\n", "too big inline request")
        return plain_words(line.removesuffix(b"\r")), rest
    head, stream = plain_line(stream, b"\r", "too big mbulk count string")
    count = plain_integer(head[1:], "invalid multibulk length")
    if count > WORDS_MAX:
        raise ProtocolFault("Protocol error: invalid multibulk length")
    stream = stream[1:]
    words: list[bytes] = []
    total = 0
    for _ in range(count):
        head, stream = plain_line(stream, b"\r", "too big bulk count string")
        if head[:1] != b"$":
            got = (head[:1] or b" ").replace(b"\n", b" ").decode("utf-8", "surrogateescape")
            raise ProtocolFault(f"Protocol error: expected '$', got '{got}'")
        length = plain_integer(head[1:], "invalid bulk length")
        if not 0 <= length <= bulk_max:
            raise ProtocolFault("Protocol error: invalid bulk length")
        total += length
        if total > request_max:
            raise ProtocolFault("Protocol error: request is too large")
        stream = stream[1:]
        if len(stream) < length + 2:
            raise EOFError
        words.append(stream[:length])
        stream = stream[length + 2 :]
    return words, stream


def plain_line(stream: bytes, end: bytes, fault: str) -> tuple[bytes, bytes]:
    """Returns what stands before an end, and what after it."""
    line, found, rest = stream.partition(end)
    if len(line) > 65536:
        raise ProtocolFault(f"Protocol error: {fault}")
    if not found:
        raise EOFError
    return line, rest


def plain_integer(digits: bytes, fault: str) -> int:
    """Returns the number that is written."""
    try:
        number = int(digits)
    except ValueError:
        number = 2**63
    if b"%d" % number != digits or not -(2**63) <= number < 2**63:
        raise ProtocolFault(f"Protocol error: {fault}")
    return number


def plain_words(line: bytes) -> list[bytes]:
    """Returns the words of an inline command, letter by letter."""
    words: list[bytes] = []
    letters = [line[at : at + 1] for at in range(len(line))]
    while letters:
        if letters[0].isspace():
            letters.pop(0)
            continue
        word = b""
        while letters and letters[0] not in (b" ", b"\t", b"\r", b"\n"):
            letter = letters.pop(0)
            if letter not in (b'"', b"'"):
                word += letter
                continue
            word += plain_quoted(letter, letters)
            if letters and not letters[0].isspace():
                raise ProtocolFault("Protocol error: unbalanced quotes in request")
            break
        words.append(word)
    return words


def plain_quoted(quote: bytes, letters: list[bytes]) -> bytes:
    """Takes the rest of a part in quotes, and returns what it means."""
    word = b""
    while letters:
        letter = letters.pop(0)
        if letter == quote:
            return word
        if letter != b"\\" or not letters:
            word += letter
        elif quote == b"'":
            word += letters.pop(0) if letters[0] == b"'" else letter
        elif re.fullmatch(rb"x[0-9a-fA-F]{2}", b"".join(letters[:3])):
            word += bytes.fromhex(b"".join(letters[1:3]).decode())
            del letters[:3]
        else:
            letter = letters.pop(0)
            word += {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"a": b"\a"}.get(letter, letter)
    raise ProtocolFault("Protocol error: unbalanced quotes in request")


words_st = st.lists(
    st.one_of(st.binary(max_size=40), st.sampled_from([b"GET", b"\r\n", b"*1\r\n$1\r\na\r\n", b"%=~>|", b"x" * 2000])),
    min_size=1,
    max_size=6,
)
sizes_st = st.lists(st.integers(1, 60), max_size=30)
fragments_st = st.lists(
    st.one_of(
        st.binary(max_size=6),
        words_st.map(lambda words: command(*words)),
        st.sampled_from([b"*", b"$", b"\r\n", b"\r", b"\n", b"*1\r\n", b"*2\r\n", b"*0\r\n", b"*-1\r\n", b"*12\r\n"]),
        st.sampled_from(
            [b"$0\r\n\r\n", b"$3\r\nGET\r\n", b"$1\rXaXX", b"$20\r\n", b"$-1\r\n", b"$03\r\n", b"$101\r\n"]
        ),
        st.sampled_from([b"PING\r\n", b"GET a\n", b'SET "a\\x41\\n" ', b"'b\\''", b'"', b"'", b"\\", b" ", b"\x00"]),
        st.sampled_from(
            [b"+OK\r\n", b":1\r\n", b"=8\r\ntxt:GETS\r\n", b"%1\r\n", b"~1\r\n", b"_\r\n", b"(1\r\n", b",1\r\n"]
        ),
    ),
    max_size=25,
).map(b"".join)


@given(st.lists(words_st, max_size=20), sizes_st)
def test_commands_come_out_as_they_went_in(commands: list[list[bytes]], sizes: list[int]) -> None:
    """Wherever the stream is cut, the commands are the same and in their order."""
    stream = b"".join(command(*words) for words in commands)
    assert outcome(cut(stream, sizes)) == (commands, None)


@given(fragments_st, sizes_st, st.sampled_from([(100, 150), (5000, 5000), (BULK_MAX, REQUEST_MAX)]))
@example(b"*1\r\n+PING\r\n*1\r\n$4\r\nPING\r\n", [], (BULK_MAX, REQUEST_MAX))
@example(b"*2\r\n+AB\r\n=8\r\ntxt:ABCD\r\n*1\r\n$1\r\na\r\n", [], (BULK_MAX, REQUEST_MAX))
def test_any_stream_means_the_same_however_it_is_cut(stream: bytes, sizes: list[int], limits: tuple[int, int]) -> None:
    """Commands and fault are those of the plain parser, whether a stream comes whole, in pieces or byte by byte."""
    expected = plain_outcome(stream, *limits)
    assert outcome([stream], *limits) == expected
    assert outcome(cut(stream, sizes), *limits) == expected
    assert outcome(every_byte(stream), *limits) == expected


@given(st.binary(max_size=300), sizes_st)
def test_any_bytes_mean_the_same_however_they_are_cut(stream: bytes, sizes: list[int]) -> None:
    """The same for noise."""
    expected = plain_outcome(stream, 100, 150)
    assert outcome([stream], 100, 150) == outcome(cut(stream, sizes), 100, 150) == expected


BULK_FAULT = "Protocol error: invalid bulk length"
COUNT_FAULT = "Protocol error: invalid multibulk length"
QUOTES_FAULT = "Protocol error: unbalanced quotes in request"


@pytest.mark.parametrize(
    ("stream", "fault"),
    [
        (b"*x\r\n", COUNT_FAULT),
        (b"*\r\n", COUNT_FAULT),
        (b"*-0\r\n", COUNT_FAULT),
        (b"*01\r\n", COUNT_FAULT),
        (b"*+1\r\n", COUNT_FAULT),
        (b"* 1\r\n", COUNT_FAULT),
        (b"*2147483648\r\n", COUNT_FAULT),
        (b"*-9223372036854775809\r\n", COUNT_FAULT),
        (b"*1\r\nxyz\r\n", "Protocol error: expected '$', got 'x'"),
        (b"*1\r\n\r\n", "Protocol error: expected '$', got ' '"),
        (b"*1\r\n\n\r\n", "Protocol error: expected '$', got ' '"),
        (b"*1\r\n'\r\n", "Protocol error: expected '$', got '''"),
        (b"*1\r\n\xff\r\n", "Protocol error: expected '$', got '\udcff'"),
        (b"*1\r\n*1\r\n$1\r\na\r\n", "Protocol error: expected '$', got '*'"),
        (b"*1\r\n:1\r\n", "Protocol error: expected '$', got ':'"),
        (b"*1\r\n$x\r\n", BULK_FAULT),
        (b"*1\r\n$\r\n", BULK_FAULT),
        (b"*1\r\n$-1\r\n", BULK_FAULT),
        (b"*1\r\n$-0\r\n", BULK_FAULT),
        (b"*1\r\n$04\r\nPING\r\n", BULK_FAULT),
        (b"*1\r\n$536870913\r\n", BULK_FAULT),
        (b"*" + b"1" * 65536, "Protocol error: too big mbulk count string"),
        (b"*1\r\n$" + b"1" * 65536, "Protocol error: too big bulk count string"),
        (b"*1\r\n" + b"x" * 65537, "Protocol error: too big bulk count string"),
        (b"x" * 65537, "Protocol error: too big inline request"),
        (b'ECHO "a\r\n', QUOTES_FAULT),
        (b"ECHO 'a\r\n", QUOTES_FAULT),
        (b'ECHO "a"b\r\n', QUOTES_FAULT),
        (b"ECHO 'a'b\r\n", QUOTES_FAULT),
        (b"ECHO a'b'c\r\n", QUOTES_FAULT),
        (b'ECHO a"b\r\n', QUOTES_FAULT),
        (b'ECHO "\\"\r\n', QUOTES_FAULT),
        (b"ECHO '\\'\r\n", QUOTES_FAULT),
        (b"ECHO '\\'\\n\\\\'\r\n", QUOTES_FAULT),
        (b'ECHO "a"\xa0\r\n', QUOTES_FAULT),
    ],
)
def test_faults_have_the_words_of_redis(stream: bytes, fault: str) -> None:
    """What Redis 7.0.15 answers, alone and after commands that are answered before it."""
    before = command(b"GET", b"a") * 2
    for pieces in ([stream], every_byte(stream)):
        assert outcome(pieces) == ([], fault)
    for pieces in ([before + stream], every_byte(before + stream)):
        assert outcome(pieces) == ([[b"GET", b"a"]] * 2, fault)


@pytest.mark.parametrize(
    ("stream", "commands"),
    [
        (b"*0\r\nPING\r\n", [[b"PING"]]),
        (b"*-3\r\nPING\r\n", [[b"PING"]]),
        (b"*-9223372036854775808\r\nPING\r\n", [[b"PING"]]),
        (b"*1\rX$4\rYPINGZZ", [[b"PING"]]),
        (b"\r\n\n  \r\n\t\nPING\r\n", [[b"PING"]]),
        (b"PING\nPING\r\r\n", [[b"PING"], [b"PING"]]),
        (b"  PING\x0b\x0ca\r\n", [[b"PING\x0b\x0ca"]]),
        (b"ECHO ''\r\n\"\"\r\n", [[b"ECHO", b""], [b""]]),
        (b"ECHO '\r' a\rb\r\n", [[b"ECHO", b"\r", b"a", b"b"]]),
        (b'ECHO a"b"\r\n', [[b"ECHO", b"ab"]]),
        (b"ECHO 'a\"'\r\n", [[b"ECHO", b'a"']]),
        (b"ECHO 'a\\'\\x41'\r\n", [[b"ECHO", b"a'\\x41"]]),
        (b'ECHO "\\x" "\\x4"\r\n', [[b"ECHO", b"x", b"x4"]]),
        (b'ECHO "\\n\\r\\t\\b\\a\\\\\\"\\x41\\xzz\\q\\0"\r\n', [[b"ECHO", b'\n\r\t\x08\x07\\"Axzzq0']]),
        (b"x" * 65536 + b"\n", [[b"x" * 65536]]),
        (b"*1\r", []),
        (b"*1\r\nx", []),
        (b"*" + b"1" * 65535, []),
        (b"*1\r\n" + b"x" * 65536, []),
        (b'ECHO "a\r', []),
    ],
)
def test_unusual_commands_are_read_as_redis_reads_them(stream: bytes, commands: list[list[bytes]]) -> None:
    """What Redis 7.0.15 takes."""
    assert outcome([stream]) == outcome(every_byte(stream)) == (commands, None)


def test_after_a_fault_the_stream_is_dead() -> None:
    """Whatever comes is dropped, and each call says the same."""
    requests = Requests(BULK_MAX, REQUEST_MAX)
    requests.feed(b"*x\r\n" + command(b"PING") * 3)
    for _ in range(2):
        with pytest.raises(ProtocolFault, match=COUNT_FAULT):
            requests.next()
        requests.feed(command(b"PING"))
        assert requests.waiting_bytes == 0


def test_limits_hold_when_a_length_is_declared() -> None:
    """What is as large as allowed is taken, one byte or word more refused before it comes."""
    assert outcome([command(b"x" * 10, b"y" * 10)], 10, 20) == ([[b"x" * 10, b"y" * 10]], None)
    assert outcome([b"*2\r\n$11\r\n"], 10, 20) == ([], BULK_FAULT)
    too_large = "Protocol error: request is too large"
    assert outcome([b"*3\r\n$10\r\n0123456789\r\n$10\r\n0123456789\r\n$1\r\n"], 10, 20) == ([], too_large)
    assert outcome([b"*1048576\r\n"]) == ([], None)
    assert outcome([b"*1048577\r\n"]) == ([], COUNT_FAULT)


def test_waiting_bytes_are_those_of_no_returned_command() -> None:
    """They count as long as their command was not returned, wherever they are."""
    get, ping = command(b"GET", b"a"), b"PING\r\n"
    requests = Requests(BULK_MAX, REQUEST_MAX)
    requests.feed(get * 2 + ping)
    requests.feed(get[:-1])
    seen = []
    for _ in range(4):
        seen.append((requests.has_more, requests.waiting_bytes))
        requests.next()
    sizes = [len(get + get + ping + get) - 1, len(get + ping + get) - 1, len(ping + get) - 1, len(get) - 1]
    assert seen == [(True, size) for size in sizes]
    assert (requests.has_more, requests.waiting_bytes) == (False, len(get) - 1)
    requests.feed(get[-1:])
    assert (requests.has_more, requests.waiting_bytes) == (True, len(get))
    assert requests.next() == [b"GET", b"a"]
    assert (requests.has_more, requests.waiting_bytes) == (False, 0)


@pytest.mark.parametrize("stream", [command(b"SET", b"k", bytes(2**20)), command(*[b"abcde"] * 20_000)])
def test_small_pieces_cost_no_more_than_their_number(stream: bytes) -> None:
    """A large command in pieces of seven bytes is put together once: no piece is looked at again and again."""
    pieces = [stream[at : at + 7] for at in range(0, len(stream), 7)]
    requests = Requests(BULK_MAX, REQUEST_MAX)
    started = time.process_time()
    for piece in pieces:
        requests.feed(piece)
        words = requests.next()
    assert words is not None
    assert command(*words) == stream
    assert time.process_time() - started < 0.00005 * len(pieces) + 1


def test_much_that_comes_at_once_costs_no_more_than_it_is_long() -> None:
    """Nothing is moved with each command, whether hiredis or the walker reads it."""
    for stream, count in (
        (command(b"GET", b"a") * 100_000, 100_000),
        ((command(b"GET", b"a") + b"PING\n") * 20_000, 40_000),
    ):
        started = time.process_time()
        assert len(outcome([stream])[0]) == count
        assert time.process_time() - started < 5


@pytest.mark.parametrize(
    "stream",
    [
        b"*2\r\n*4294967295\r\n",
        b"*1\r\n$1\r\naXX*1\r\n*4294967295\r\n",
        b"*2\r\n%2147483647\r\n*1\r\n",
        b"*2\r\n~99999999\r\n*1\r\n",
        b"*2\r\n>99999999\r\n*1\r\n",
        b"*2\r\n|99999999\r\n*1\r\n",
        b"*999\r\n" * 10_000,
        b"*1\r\n" + b"%999\r\n" * 10_000,
        b"*1\r\n" + b"~999\r\n" * 10_000,
        b"*1\r\n" * 10_000,
        b"*1048576\r\n$8388608\r\n*",
    ],
)
def test_what_is_declared_takes_no_memory(stream: bytes) -> None:
    """Not by hiredis either, which makes an array as soon as it has read how long it is."""
    tracemalloc.start()
    try:
        outcome([stream])
        assert tracemalloc.get_traced_memory()[1] < 32 * 2**20
    finally:
        tracemalloc.stop()
