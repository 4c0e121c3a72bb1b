"""Bytes as they are, to Redis and to CoreCache: lines, frames, what is neither, and what was spoiled on the way."""

from collections.abc import Sequence
from random import Random

from integration.resp_alike import alike_of, same
from integration.resp_harness import Reply, RespConnection, encoded
from integration.resp_pair import Both, Pair, Verdict, see, verdict_of
from integration.resp_sequences import Step, sequence

STREAMS = 150

INLINE = rb"""
PING\r\n
ping\n
\r\nPING\r\n
  PING   x  \r\n
SET {t}a 'b c'\r\nGET {t}a\r\n
ECHO "a\\x41\\n"\r\n
ECHO 'it\\'s'\r\n
ECHO "unbalanced\r\nPING\r\n
ECHO 'a'b\r\nPING\r\n
ECHO ""\r\n
\n\n\nPING\n
nosuch a b\r\n
GET\r\n
ECHO \xff\r\n
"""
MULTIBULK = rb"""
*0\r\n
*-1\r\n
*-5\r\n
*x\r\n
*\r\n
*2147483648\r\n
*1x\r\n
*99999999999999999999\r\n
* 1\r\n
*1\r\n+PING\r\n
*1\r\n\r\n
*1\r\n$x\r\n
*1\r\n$-1\r\n
*1\r\n$536870913\r\n
*1\r\n$\r\n
*1\r\n:1\r\n
*1\r\n$4\r\nPINGxx*1\r\n$4\r\nPING\r\n
*1\r\n$0\r\n\r\n
*01\r\n$04\r\nPING\r\n
*+1\r\n$4\r\nPING\r\n
*2\r\n$4\r\nECHO\r\n$3\r\nab\r\n\r\n
*1\n$4\r\nPING\r\n
"""
"""A stream a line, written as in Python."""


def streams_of(lines: bytes) -> list[bytes]:
    """Returns the streams."""
    return [line.decode("unicode_escape").encode("latin-1") for line in lines.splitlines() if line]


def see_streams(pair: Pair, streams: Sequence[bytes]) -> None:
    """Sends each byte stream, and no more, to both servers, and compares all that they answer until they end it."""
    found = []
    for stream in streams:
        answers = []
        for port in (pair.redis.resp_port, pair.ours.resp_port):
            with RespConnection(port) as connection:
                connection.send(stream)
                connection.finish()
                answers.append(connection.read_all())
        if not _told_alike(*answers):
            shown = stream if len(stream) < 300 else stream[:150] + b" ... " + stream[-150:]
            found.append(f"{shown!r}\n    Redis: {_all(answers[0])}\n    ours:  {_all(answers[1])}")
    see(found)


def _told_alike(theirs: list[Reply], ours: list[Reply]) -> bool:
    """Says whether two lists of answers are equal, as far as the first difference that is meant."""
    for one, other in zip(theirs, ours, strict=False):
        if one != other:
            return verdict_of([b"?"], one, other) is not Verdict.DIFFERENT
    # What can't become a right line is refused before it is whole.
    early = len(ours) == len(theirs) + 1 and not any(map(_is_protocol_error, theirs)) and _is_protocol_error(ours[-1])
    return len(theirs) == len(ours) or early


def _is_protocol_error(reply: Reply) -> bool:
    return reply.kind == "error" and reply.value.startswith(b"ERR Protocol error: ")


def _all(replies: list[Reply]) -> Reply:
    return Reply("array", tuple(replies))


def test_client_reply_is_obeyed_alike(pair: Pair) -> None:
    """OFF, SKIP and ON: only what is to be answered is."""
    orders = [
        *([b"CLIENT", b"REPLY", b"SKIP"], [b"PING", b"unheard"], [b"PING", b"heard"]),
        *([b"CLIENT", b"REPLY", b"OFF"], [b"PING", b"unheard"], [b"nosuch"], [b"CLIENT", b"REPLY", b"SKIP"]),
        *([b"CLIENT", b"REPLY", b"ON"], [b"PING", b"heard again"]),
        *([b"CLIENT", b"REPLY", b"SKIP"], [b"CLIENT", b"REPLY", b"ON"], [b"PING", b"at last"]),
    ]
    see_streams(pair, [b"".join(encoded(*each) for each in orders)])


def test_inline_commands_are_understood_alike(pair: Pair) -> None:
    """Quotes, escapes, blanks, and lines that are too long."""
    see_streams(pair, [*streams_of(INLINE), b"x" * 70_000])


def test_malformed_frames_are_refused_alike(pair: Pair) -> None:
    """Whatever is no number, no bulk string, or too long; each after a command that is answered, and before one."""
    ping = encoded("PING")
    see_streams(pair, [stream for each in streams_of(MULTIBULK) for stream in (each, ping + each + ping)])
    see_streams(pair, [b"*" + b"1" * 70_000, b"*1\r\n$" + b"1" * 70_000])


def test_spoiled_streams_are_answered_alike(pair: Pair) -> None:
    """Commands in one stream of which bytes were changed, added and taken away, or the end."""
    dice = Random(9)
    for _ in range(STREAMS):
        octets = bytearray(b"".join(encoded(*step.words) for step in sequence(dice.randrange(10**6), 6) if _tame(step)))
        for _ in range(dice.randint(1, 3)):
            at = dice.randrange(len(octets) + 1)
            match dice.choice(["change", "add", "take", "cut"]):
                case "change":
                    octets[at : at + 1] = bytes([dice.choice(b"\r\n*$+0123456789 x\xff")])
                case "add":
                    octets[at:at] = dice.choice([b"\r\n", b"*", b"$", b"1", b"PING\r\n", b"*1\r\n$4\r\nPING\r\n"])
                case "take":
                    del octets[at : at + dice.randint(1, 4)]
                case "cut":
                    del octets[at:]
        with Both(pair):
            # Redis's lines end at a NUL too, where the frames are lost.
            see_streams(pair, [bytes(octets).replace(b"\0", b"\1")])


def _tame(step: Step) -> bool:
    """Says whether a command's answer is compared word by word, and is there before the client has said its last."""
    return alike_of(step.words) is same and step.words[0].upper() != b"WAIT"
