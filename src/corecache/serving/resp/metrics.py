"""What the server of Redis's protocol tells Prometheus."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from corecache.serving.resp.shared import Shared


class RespMetrics(Collector):
    """The counts of one server, made at each scrape from numbers that it keeps anyway."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    def collect(self) -> Iterator[Metric]:
        """Yields the counts."""
        shared = self._shared
        yield GaugeMetricFamily("corecache_resp_connections", "Clients that are connected.", shared.connections)
        yield CounterMetricFamily("corecache_resp_connections_taken", "Clients so far.", shared.connections_total)
        yield CounterMetricFamily("corecache_resp_refused", "Clients refused: too many.", shared.refused_total)
        yield CounterMetricFamily("corecache_resp_commands", "Commands taken.", shared.commands_total)
