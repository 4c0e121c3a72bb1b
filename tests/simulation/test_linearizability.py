"""The judge of what clients saw: histories that can be explained, and the ways in which they can't."""

import pytest

from corecache.simulator.linearizability import Call, is_linearizable

PUT_1 = Call("put", 0, 1, version=1)


@pytest.mark.parametrize(
    "calls",
    [
        (Call("get", 0, 1),),
        (PUT_1, Call("get", 2, 3, version=1)),
        (Call("put", 0, 5, version=1), Call("get", 1, 2), Call("get", 3, 4, version=1)),
        (Call("put", 0, version=1), Call("get", 1, 2, version=1)),
        (Call("put", 0, version=1), Call("get", 1, 2)),
        (PUT_1, Call("delete", 2, 3), Call("get", 4, 5)),
        (PUT_1, Call("put", 2, 3, condition=1, version=2), Call("put", 4, 5, condition=1, done=False, version=2)),
        (Call("put", 0, 1, version=1, vanishes=True), Call("get", 2, 3)),
    ],
)
def test_what_one_register_explains_passes(calls: tuple[Call, ...]) -> None:
    """Calls that overlap may come in either order; one of unknown outcome may have happened or not."""
    assert is_linearizable(calls)


@pytest.mark.parametrize(
    "calls",
    [
        pytest.param((PUT_1, Call("get", 2, 3)), id="an acknowledged write is lost"),
        pytest.param((PUT_1, Call("put", 2, 3, version=2), Call("get", 4, 5, version=1)), id="a stale read"),
        pytest.param((Call("get", 0, 1, version=1), Call("put", 2, 3, version=1)), id="a read of what comes later"),
        pytest.param(
            (Call("put", 0, 9, version=1), Call("get", 1, 2, version=1), Call("get", 3, 4)), id="a read goes back"
        ),
        pytest.param((PUT_1, Call("delete", 2, 3), Call("get", 4, 5, version=1)), id="a deleted key is back"),
        pytest.param(
            (
                PUT_1,
                Call("put", 2, 3, condition=1, version=2),
                Call("put", 4, 5, condition=1, version=3),
            ),
            id="a condition holds twice",
        ),
        pytest.param(
            (PUT_1, Call("put", 2, 3, condition=1, done=False, version=0)), id="a condition fails though it holds"
        ),
        pytest.param((PUT_1, Call("put", 2, 3, version=1)), id="a version is given twice"),
        pytest.param(
            (Call("put", 0, 1, version=1, vanishes=True), Call("get", 2, 3), Call("get", 4, 5, version=1)),
            id="an expired key is back",
        ),
        pytest.param((PUT_1, Call("put", 2, version=2), Call("get", 3, 4)), id="an unknown write takes one away"),
    ],
)
def test_what_no_register_explains_fails(calls: tuple[Call, ...]) -> None:
    """Each is a promise broken."""
    assert not is_linearizable(calls)
