"""Requests of the load as bytes."""

import pytest

from corecache.loadgen.requests import RUNS, HttpDialect, RespDialect, first_inserted, key
from corecache.wire.resp_command import command

NUMBERS = (0, 999_999_999, first_inserted(1), first_inserted(RUNS - 1) + 10**11 - 1)


@pytest.mark.parametrize("number", NUMBERS)
def test_redis_requests_are_what_a_client_packs(number: int) -> None:
    """Though they are made from a template."""
    dialect = RespDialect()
    assert dialect.read(number) == command(b"GET", key(number))
    for value in (b"", b"$0\r\n", b"x" * 1000):
        assert dialect.write(number, value) == command(b"SET", key(number), value)


@pytest.mark.parametrize("number", NUMBERS)
def test_http_requests(number: int) -> None:
    """Word for word, with a host that has a percent sign."""
    dialect = HttpDialect("[fe80::1%25eth0]:7070")
    name = key(number)
    ending = b" HTTP/1.1\r\nHost: [fe80::1%25eth0]:7070\r\n"
    quoted = name.replace(b"/", b"%2F")
    assert dialect.read(number) == b"GET /v1/kv/" + name + ending + b"\r\n"
    assert dialect.write(number, b"abc") == b"PUT /v1/kv/" + name + ending + b"Content-Length: 3\r\n\r\nabc"
    scan = b"GET /v1/kv?prefix=corecache-bench%2F&start=" + quoted + b"&limit=7" + ending + b"\r\n"
    assert dialect.scan(number, 7) == scan


def test_keys_have_one_length_and_runs_do_not_meet() -> None:
    """Inserted keys stand behind all that can be loaded, and each run's behind those of the one before."""
    names = [key(number) for number in NUMBERS]
    assert len({len(name) for name in names}) == 1
    assert names == sorted(names)
    assert first_inserted(2) - first_inserted(1) == first_inserted(1) > 10**9
