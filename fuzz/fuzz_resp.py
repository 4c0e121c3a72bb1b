"""Fuzzes `wire/resp_requests.py`: what arrives from whoever has found the port of Redis's protocol.

The first byte says where the rest is cut into pieces; the rest is a stream of requests.
"""

import tracemalloc

from corecache.wire.resp import Failure, encode
from corecache.wire.resp_requests import ProtocolFault, Requests

WORDS = (
    *(
        b"*1\r\n",
        b"*2\r\n",
        b"*3\r\n",
        b"*0\r\n",
        b"*-1\r\n",
        b"*12\r\n",
        b"*999\r\n",
        b"*1048576\r\n",
        b"*1048577\r\n",
    ),
    *(b"$0\r\n\r\n", b"$1\r\na\r\n", b"$3\r\nGET\r\n", b"$12\r\n", b"$-1\r\n", b"$01\r\n", b"$1000\r\n", b"$1001\r\n"),
    *(b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n", b"*1\r\n$4\r\nPING\r\n" * 50, b"*1\rX$4\rXPINGXX"),
    *(b"PING\r\n", b"SET a b\n", b'"', b"'", b"\\x41", b'\\"', b"\\'", b" ", b"\r\n", b"\r", b"\n"),
    *(
        b"+OK\r\n",
        b"-ERR\r\n",
        b":1\r\n",
        b"_\r\n",
        b"#t\r\n",
        b",1.5\r\n",
        b"(1\r\n",
        b"=8\r\ntxt:PING\r\n",
        b"$-1\r\n",
    ),
    *(b"%1\r\n", b"~1\r\n", b">1\r\n", b"|1\r\n", b"*4294967295\r\n", b"%2147483647\r\n", b"*1\r\n" * 2000),
    *(b"1" * 20, b"-9223372036854775808", b"9223372036854775808", b"x" * 65536, b"*" + b"1" * 65536),
)

MEMORY_BYTES_MAX = 32 * 1024 * 1024
"""Beside 100 bytes for each that came: each may be a word."""
BULK_BYTES_MAX = 1000
REQUEST_BYTES_MAX = 3000


def target(data: bytes) -> None:
    """Whatever arrives: the same commands and the same fault wherever it is cut, and no more than what came."""
    pieces, stream = data[:1], data[1:]
    tracemalloc.start()
    try:
        whole = _outcome(stream, len(stream) + 1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MEMORY_BYTES_MAX + 100 * len(stream), "what is declared takes no memory"
    assert _outcome(stream, (pieces[0] if pieces else 0) + 1) == whole, "where a stream is cut does not matter"
    commands, fault = whole
    for words in commands:
        assert words, "an empty command is passed over"
    assert sum(len(word) for words in commands for word in words) <= len(stream), "nothing is made up"
    if fault is not None:
        answer = encode(Failure(f"ERR {fault}"), 2)
        assert answer.startswith(b"-ERR Protocol error: "), answer
        assert answer.endswith(b"\r\n"), answer
        assert answer.count(b"\n") == answer.count(b"\r") == 1, "a fault is one line"


def _outcome(stream: bytes, size: int) -> tuple[list[list[bytes]], str | None]:
    """Returns the commands of a stream that comes in pieces of a size, and the fault that ends it."""
    requests, commands = Requests(BULK_BYTES_MAX, REQUEST_BYTES_MAX), []
    for start in range(0, len(stream), size):
        requests.feed(stream[start : start + size])
        try:
            while (words := requests.next()) is not None:
                commands.append(words)
        except ProtocolFault as fault:
            assert requests.waiting_bytes == 0, "nothing is kept after a fault"
            return commands, str(fault)
        assert not requests.has_more, "all was looked at"
        assert 0 <= requests.waiting_bytes <= start + size
    return commands, None
