"""What users of Redis's clients do every day, as a table: for redis-py and valkey-py, blocking and asyncio alike.

The tables are of method, arguments, and what it returns; all keys of a table are of one hash tag. The tests of one node
and of a cluster run the same.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

PIPELINE = 10_000


class Call(NamedTuple):
    """A method with its arguments, and what must come back: a value, or a predicate of it."""

    method: str
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    returns: Any


def call(method: str, *arguments: Any, returns: Any, **options: Any) -> Call:
    """Returns a call."""
    return Call(method, arguments, options, returns)


def everyday(tag: str) -> list[Call]:
    """Returns what is done in an everyday life, with keys of a tag that are absent before and after."""
    a, b, c, absent = (f"{{{tag}}}{name}" for name in ("a", "b\xff", "c", "absent"))
    return [
        call("set", a, "schön", returns=True),
        call("get", a, returns="schön".encode()),
        call("get", absent, returns=None),
        call("set", a, "x", nx=True, returns=None),
        call("set", a, b"\0\xff\r\n", xx=True, get=True, returns="schön".encode()),
        call("getset", a, "1", returns=b"\0\xff\r\n"),
        call("incr", a, returns=2),
        call("incrby", a, 40, returns=42),
        call("decr", a, returns=41),
        call("incrbyfloat", a, 0.5, returns=41.5),
        call("append", a, "!", returns=5),
        call("strlen", a, returns=5),
        call("getrange", a, 0, 3, returns=b"41.5"),
        call("setrange", a, 4, "?", returns=5),
        call("mset", {b: "1", c: "2"}, returns=True),
        call("msetnx", {c: "3", absent: "3"}, returns=lambda answer: not answer),
        call("mget", [a, b, absent, c], returns=[b"41.5?", b"1", None, b"2"]),
        call("exists", a, b, absent, returns=2),
        call("expire", b, 1000, returns=True),
        call("ttl", b, returns=lambda answer: 990 < answer <= 1000),
        call("pttl", b, returns=lambda answer: 990_000 < answer <= 1_000_000),
        call("persist", b, returns=True),
        call("ttl", b, returns=-1),
        call("ttl", absent, returns=-2),
        call("getex", c, ex=500, returns=b"2"),
        call("expiretime", c, returns=lambda answer: answer > 1_700_000_000),
        call("type", a, returns=b"string"),
        call("rename", a, absent, returns=True),
        call("copy", absent, a, returns=True),
        call("touch", a, absent, returns=2),
        call("getdel", absent, returns=b"41.5?"),
        call("unlink", a, returns=1),
        call("delete", a, b, c, returns=2),
    ]


async def live(client: Any, calls: Sequence[Call]) -> None:
    """Makes the calls, one after another, whether the client blocks or is to be awaited."""
    for each in calls:
        answer = getattr(client, each.method)(*each.arguments, **each.options)
        if inspect.isawaitable(answer):
            answer = await answer
        right = each.returns(answer) if callable(each.returns) else answer == each.returns
        assert right, (each, answer)


async def fill_pipeline(pipeline: Callable[[], Any], prefix: str) -> None:
    """Writes and reads back with two pipelines of 10,000 commands."""
    writing, reading = pipeline(), pipeline()
    for number in range(PIPELINE):
        writing.set(f"{prefix}{number}", f"value {number}")
        reading.get(f"{prefix}{number}")
    for queued, expected in (
        (writing, [True] * PIPELINE),
        (reading, [b"value %d" % number for number in range(PIPELINE)]),
    ):
        answers = queued.execute()
        if inspect.isawaitable(answers):
            answers = await answers
        assert answers == expected
