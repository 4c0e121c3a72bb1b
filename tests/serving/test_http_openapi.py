"""Schemathesis finds no difference between /openapi.json and what a server does."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import positive_data_acceptance

from serving.http_lab import Lab, config_of, with_lab

load_all_checks()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Runs a server in a thread and returns its address."""
    ready = threading.Event()
    found: list[Any] = []

    async def scenario(lab: Lab) -> None:
        done = asyncio.Event()
        found.extend([f"http://127.0.0.1:{lab.port}", asyncio.get_running_loop(), done])
        ready.set()
        await done.wait()

    thread = threading.Thread(target=lambda: asyncio.run(with_lab(config_of(), scenario)))
    thread.start()
    assert ready.wait(20)
    yield found[0]
    found[1].call_soon_threadsafe(found[2].set)
    thread.join()


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_the_server_does_what_it_describes(address: str, mode: GenerationMode) -> None:
    """Answers have the statuses, types, headers and schemas described, and bad requests are refused.

    A cursor has to be one that a page gave, which no schema can say: good requests may therefore be refused.
    """
    schema = schemathesis.openapi.from_url(address + "/openapi.json")
    tested = set()
    for operation in schema.get_all_operations():
        assert isinstance(operation, Ok)
        cases = operation.ok().as_strategy(generation_mode=mode)

        @settings(max_examples=15, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=cases)
        def check(case: "schemathesis.Case[Any]") -> None:
            case.call_and_validate(excluded_checks=[positive_data_acceptance])

        try:
            check()
        except Unsatisfiable:
            # What has no parameter and no body can't be asked wrongly.
            assert mode is GenerationMode.NEGATIVE
        tested.add(operation.ok().label)
    assert {"PUT /v1/kv/{key}", "GET /v1/kv", "POST /v1/batch", "GET /metrics"} <= tested
