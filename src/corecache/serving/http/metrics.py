"""What the HTTP server counts, and how Prometheus sees it.

The rule: counting a request costs three additions to plain integers; the objects of prometheus-client are made when
somebody scrapes. Requests are counted by method, route (a class, never a key) and status; their durations fall into
buckets whose bounds are powers of two of a microsecond, because the bucket is then `int.bit_length`. Who serves one
route only keeps its `RouteCounts`, and looks nothing up.

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


class RouteCounts:
    """The counts of one route."""

    __slots__ = ("buckets", "requests", "total_us")

    def __init__(self) -> None:
        self.requests: dict[tuple[str, int], int] = {}
        # As many as a number of nanoseconds in 64 bits has, so that no request has to be compared with the last.
        self.buckets = [0] * 64
        self.total_us = 0

    def observe(self, method: str, status: int, started_ns: int) -> None:
        """Counts a request that was answered now; `started_ns` is `perf_counter_ns` at its start."""
        elapsed_us = (perf_counter_ns() - started_ns) // 1000
        kind = (method, status)
        requests = self.requests
        requests[kind] = requests.get(kind, 0) + 1
        self.buckets[elapsed_us.bit_length()] += 1
        self.total_us += elapsed_us


class RequestMetrics(Collector):
    """The counts of one server. `state` and `buffered_bytes` are asked at each scrape."""

    def __init__(self, state: SharedState, buffered_bytes: Callable[[], int]) -> None:
        self._state = state
        self._buffered_bytes = buffered_bytes
        self._routes: dict[str, RouteCounts] = {}

    def route(self, route: str) -> RouteCounts:
        """Returns the counts of a route, which it begins if there are none."""
        counts = self._routes.get(route)
        if counts is None:
            counts = self._routes[route] = RouteCounts()
        return counts

    def collect(self) -> Iterator[Metric]:
        """Yields the counts in Prometheus's own words."""
        requests = CounterMetricFamily(
            "corecache_http_requests", "Requests answered.", labels=["method", "route", "status"]
        )
        used = {route: counts for route, counts in self._routes.items() if counts.requests}
        for route, counts in used.items():
            for (method, status), count in counts.requests.items():
                requests.add_metric([method, route, str(status)], count)
        for status, count in self._state.refused.items():
            requests.add_metric(["none", "none", str(status)], count)
        yield requests
        durations = HistogramMetricFamily(
            "corecache_http_request_duration_seconds", "From a request's start to its answer.", labels=["route"]
        )
        for route, counts in used.items():
            durations.add_metric([route], _cumulated(counts.buckets), counts.total_us * 1e-6)
        yield durations
        yield GaugeMetricFamily("corecache_http_connections", "Connections that are open.", len(self._state.open))
        yield GaugeMetricFamily(
            "corecache_http_buffered_bytes", "Large bodies and answers that are held.", self._buffered_bytes()
        )


def _cumulated(buckets: list[int]) -> list[tuple[str, float]]:
    """Returns (upper bound in seconds, count up to it) for each bucket; the last has no bound."""
    total = 0
    points = []
    for bits, count in enumerate(buckets[: _BUCKETS - 1]):
        total += count
        points.append((repr((1 << bits) * 1e-6), float(total)))
    points.append(("+Inf", float(sum(buckets))))
    return points
