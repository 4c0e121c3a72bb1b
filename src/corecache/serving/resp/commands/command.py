"""What a command is: its shape, for `COMMAND` and for the checks that are the same for all, and how it is carried out.

There are three kinds, by what they need:

* a *keyed* command becomes a `Plan`: operations on keys of one slot, and how their results are answered. It can stand
  in a transaction, and is executed where its slot's primary is;
* an *instant* command is answered at once from what the node knows, without waiting;
* a *slow* command awaits something. Whatever its connection asked before is answered first.

Rule: a command judges its arguments before anything happens. What is wrong raises `Refusal`, in Redis's words.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

import msgspec

from corecache.config import Config
from corecache.operations import Operation, Result
from corecache.wire.resp import Reply

if TYPE_CHECKING:
    from corecache.serving.resp.session import Session

Arguments: TypeAlias = Sequence[bytes]
"""A command as it was sent: its name first."""


class Refusal(Exception):
    """The command can't be carried out as it was sent. The text is Redis's, from its first word on."""


class Plan(msgspec.Struct, frozen=True):
    """Operations on keys of one slot, one or more, and what their results mean to the client."""

    operations: Sequence[Operation]
    answer: Callable[[Sequence[Result]], Reply]


class Keyed(Protocol):
    """Makes a plan. Raises: Refusal."""

    def __call__(self, arguments: Arguments, config: Config, /) -> Plan:
        """Takes the command with its arguments, whose number was checked."""


Instant: TypeAlias = Callable[["Session", Arguments], Reply]
Slow: TypeAlias = Callable[["Session", Arguments], Awaitable[Reply]]


class Command(msgspec.Struct, frozen=True):
    """A command. Exactly one of `plan`, `instant` and `slow` is given, unless the connection itself carries it out.

    `arity` counts the name; below 0 it is a minimum. `first_key`, `last_key` and `step` are positions, as in Redis's
    `COMMAND` (0: no keys; -1: the last argument). `subcommands` are by their lower-case names.
    """

    name: str
    arity: int
    flags: tuple[str, ...] = ()
    first_key: int = 0
    last_key: int = 0
    step: int = 0
    categories: tuple[str, ...] = ()
    group: str = "string"
    since: str = "1.0.0"
    summary: str = ""
    plan: Keyed | None = None
    instant: Instant | None = None
    slow: Slow | None = None
    subcommands: tuple["Command", ...] = ()

    def takes(self, count: int) -> bool:
        """Says whether a command of `count` words, its name included, has the right number."""
        return count == self.arity if self.arity >= 0 else count >= -self.arity

    def keys(self, arguments: Arguments) -> list[bytes]:
        """Returns the keys among the arguments."""
        if not self.first_key:
            return []
        last = self.last_key if self.last_key >= 0 else len(arguments) + self.last_key
        return list(arguments[self.first_key : last + 1 : self.step])


def echoed(word: bytes) -> str:
    """Returns a word of a command as errors show it: up to a NUL, whatever bytes it holds."""
    return word.partition(b"\0")[0].decode("utf-8", "surrogateescape")
