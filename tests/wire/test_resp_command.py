"""A command as bytes."""

import hiredis
from hypothesis import given
from hypothesis import strategies as st

from corecache.wire.resp_command import command


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=20))
def test_a_command_is_what_a_client_packs(words: list[bytes]) -> None:
    """The same bytes as hiredis makes."""
    assert command(*words) == hiredis.pack_command(tuple(words))  # type: ignore[arg-type]
