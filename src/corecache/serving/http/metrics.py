"""What the HTTP server counts, and how Prometheus sees it.

The rule: counting a request costs two additions to plain integers; the objects of prometheus-client are made when
somebody scrapes. Requests are counted by method, route (a class, never a key) and status; their durations fall into
buckets whose bounds are powers of two of a microsecond, because the bucket is then `int.bit_length`.

A duration is from the start of the ASGI call to the answer's last byte being handed to the connection. It is no
decision's input, hence taken from the machine's performance counter and not from `ports.Clock`.
"""

from collections.abc import Callable, Iterator
from time import perf_counter_ns

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from corecache.serving.http.shared import SharedState

_BUCKETS = 32
"""The last bucket begins at 2**31 µs, some 36 minutes, which no request's deadline reaches."""


class RequestMetrics(Collector):
    """The counts of one server. `state` and `buffered_bytes` are asked at each scrape."""

    def __init__(self, state: SharedState, buffered_bytes: Callable[[], int]) -> None:
        self._state = state
        self._buffered_bytes = buffered_bytes
        self._requests: dict[tuple[str, str, int], int] = {}
        self._durations: dict[str, list[int]] = {}
        self._seconds: dict[str, float] = {}

    def observe(self, method: str, route: str, status: int, started_ns: int) -> None:
        """Counts a request that was answered now; `started_ns` is `perf_counter_ns` at its start."""
        elapsed_us = (perf_counter_ns() - started_ns) // 1000
        kind = (method, route, status)
        requests = self._requests
        requests[kind] = requests.get(kind, 0) + 1
        buckets = self._durations.get(route)
        if buckets is None:
            buckets = self._durations[route] = [0] * _BUCKETS
            self._seconds[route] = 0.0
        buckets[min(elapsed_us.bit_length(), _BUCKETS - 1)] += 1
        self._seconds[route] += elapsed_us * 1e-6

    def collect(self) -> Iterator[Metric]:
        """Yields the counts in Prometheus's own words."""
        requests = CounterMetricFamily(
            "corecache_http_requests", "Requests answered.", labels=["method", "route", "status"]
        )
        for (method, route, status), count in self._requests.items():
            requests.add_metric([method, route, str(status)], count)
        for status, count in self._state.refused.items():
            requests.add_metric(["none", "none", str(status)], count)
        yield requests
        durations = HistogramMetricFamily(
            "corecache_http_request_duration_seconds", "From a request's start to its answer.", labels=["route"]
        )
        for route, buckets in self._durations.items():
            durations.add_metric([route], _cumulated(buckets), self._seconds[route])
        yield durations
        yield GaugeMetricFamily("corecache_http_connections", "Connections that are open.", len(self._state.open))
        yield GaugeMetricFamily(
            "corecache_http_buffered_bytes", "Large bodies and answers that are held.", self._buffered_bytes()
        )


def _cumulated(buckets: list[int]) -> list[tuple[str, float]]:
    """Returns (upper bound in seconds, count up to it) for each bucket; the last has no bound."""
    total = 0
    points = []
    for bits, count in enumerate(buckets[:-1]):
        total += count
        points.append((repr((1 << bits) * 1e-6), float(total)))
    points.append(("+Inf", float(total + buckets[-1])))
    return points
