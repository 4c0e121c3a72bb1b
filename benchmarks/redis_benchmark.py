"""Runs redis-benchmark, Redis's own load generator, and reads what it measured.

It sends a number of requests rather than for a time, so that number comes from the rate of the run before; the first
run is preceded by a short one for that. It has one thread: beside Redis that was busy for 60% of the time at most, and
on two cores a second one would take from the server. It ends with an error at the first answer that is one, so every
request counted was answered with success. Its keys are `key:` and twelve digits.
"""

import csv
import subprocess
from typing import Literal

from benchmarks.wrk import LoadError, Run

FIRST_REQUESTS = 50
"""Of each connection and place in its pipeline."""
PATIENCE_SECONDS = 30
"""Beyond ten times of what a run should take. A redis-benchmark whose server is gone may turn in circles for ever."""
COLUMNS = ("avg_latency_ms", "p50_latency_ms", "p95_latency_ms", "p99_latency_ms", "max_latency_ms")


class RedisBenchmark:
    """One kind of request to one server, at random over keys 0 to `keys` - 1."""

    def __init__(
        self, port: int, test: Literal["SET", "GET"], pipeline: int, connections: int, keys: int, value_bytes: int
    ) -> None:
        """Takes how many requests a connection has under way at once (`pipeline`), and what all of them are."""
        self._test = test
        self._command = ["redis-benchmark", "-p", str(port), "-t", test.lower(), "-P", str(pipeline), "--csv"]
        self._command += ["-c", str(connections), "-r", str(keys), "-d", str(value_bytes), "--precision", "3"]
        self._requests_first = FIRST_REQUESTS * connections * pipeline
        self._per_second = 0.0

    def drive(self, seconds: int) -> Run:
        """Runs it for about so many seconds. Raises: LoadError if it fails, or any request did."""
        if not self._per_second:
            self._per_second = self._run(self._requests_first, 0).per_second
        run = self._run(max(self._requests_first, int(self._per_second * seconds)), seconds)
        self._per_second = run.per_second
        return run

    def _run(self, requests: int, seconds: int) -> Run:
        command = [*self._command, "-n", str(requests)]
        timeout = PATIENCE_SECONDS + 10 * seconds
        try:
            ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout)
        except subprocess.TimeoutExpired:
            raise LoadError(f"redis-benchmark did not end within {timeout} s: see the server's log") from None
        if ended.returncode:
            said = (ended.stderr or ended.stdout).strip()[-500:]
            raise LoadError(f"redis-benchmark ended with {ended.returncode}: {said}")
        return printed_run(ended.stdout, self._test, requests)


def printed_run(printed: str, test: str, requests: int) -> Run:
    """Returns what a test's line in the CSV says. Raises: LoadError if there is no such line."""
    for line in csv.DictReader(printed.splitlines()):
        if line["test"] == test:
            per_second = float(line["rps"])
            return Run(requests, requests / per_second, per_second, *(float(line[column]) for column in COLUMNS))
    raise LoadError(f"redis-benchmark printed no line of {test}: {printed.strip()[-500:]}")
