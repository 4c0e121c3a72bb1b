"""What a node tells Prometheus, besides what its HTTP server counts: the log, the queue, and the tree.

Metrics are made at the scrape, from numbers that the parts keep anyway: a request costs nothing for them. The tree's
report needs the disk, and a scrape may not wait, so that `refresh` takes it every few seconds and a scrape shows the
last one.
"""

import asyncio
from collections.abc import Iterator

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from corecache.errors import CoreCacheError
from corecache.node.driver import Driver
from corecache.node.node import Node
from corecache.reports import StorageReport

_REFRESH_SECONDS = 5.0

log = structlog.get_logger("corecache.node")


class NodeCollector(Collector):
    """Makes the metrics of a node at each scrape."""

    def __init__(self, node: Node, driver: Driver) -> None:
        """Reads from `node` and `driver`, which may not be started yet."""
        self._node = node
        self._driver = driver
        self._storage: StorageReport | None = None

    async def refresh(self) -> None:
        """Takes the tree's report again and again, until it is cancelled."""
        while True:
            try:
                self._storage = await self._node.storage()
            except CoreCacheError as error:
                log.warning("no storage report for the metrics", reason=error.message)
            await asyncio.sleep(_REFRESH_SECONDS)

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics as they are now; the tree's as of a few seconds ago."""
        admission = self._driver.queues.admission
        yield GaugeMetricFamily("corecache_ready", "1 if every partition is served.", float(not self._node.unready()))
        yield GaugeMetricFamily("corecache_uncommitted_requests", "Writes waiting or under way.", admission.requests)
        yield GaugeMetricFamily("corecache_uncommitted_bytes", "Their keys and values.", admission.size_bytes)
        yield CounterMetricFamily(
            "corecache_append_rounds", "Group commits: one fsync each.", self._driver.rounds.count
        )
        yield from self._partitions()
        if self._storage is not None:
            yield from _tree(self._storage)

    def _partitions(self) -> Iterator[Metric]:
        applied = _of_partitions("applied", "Last applied sequence.")
        lag = _of_partitions("lag", "Entries appended, not applied.")
        epoch = _of_partitions("epoch", "The view's epoch.")
        in_sync = _of_partitions("in_sync", "Copies in sync, by the view.")
        wanted = _of_partitions("wanted", "Copies wanted, by the view.")
        for partition in self._node.cluster().partitions:
            labels, view = (str(partition.id),), partition.view
            applied.add_metric(labels, partition.applied)
            lag.add_metric(labels, partition.lag)
            epoch.add_metric(labels, view.epoch if view is not None else 0)
            in_sync.add_metric(labels, len(view.in_sync) if view is not None else 0)
            wanted.add_metric(labels, len(view.replicas) if view is not None else 0)
        yield from (applied, lag, epoch, in_sync, wanted)


def _of_partitions(name: str, what: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"corecache_partition_{name}", what, labels=("partition",))


def _tree(report: StorageReport) -> Iterator[Metric]:
    gauges = {
        "memtable_bytes": report.memtable_bytes,
        "sstable_bytes": report.sstable_bytes,
        "tombstones": report.tombstones,
        "pending_compaction_bytes": report.pending_compaction_bytes,
        "running_flushes": report.running_flushes,
        "running_compactions": report.running_compactions,
        "writes_stopped": report.writes_stopped,
        "cache_bytes": report.cache_bytes,
        "disk_used_bytes": report.disk_used_bytes,
        "disk_free_bytes": report.disk_free_bytes,
        "accepts_puts": report.accepts_puts,
    }
    for name, value in gauges.items():
        yield GaugeMetricFamily(f"corecache_storage_{name}", f"See {name} of GET /v1/storage.", float(value))
    counters = {
        "cache_hits": report.cache_hits,
        "cache_misses": report.cache_misses,
        "filter_useful": report.filter_useful,
        "stall_ms": report.stall_ms,
    }
    for name, value in counters.items():
        yield CounterMetricFamily(f"corecache_storage_{name}", f"See {name} of GET /v1/storage.", float(value))
    levels = GaugeMetricFamily("corecache_storage_level_bytes", "SSTable bytes of a level.", labels=("level",))
    for level in report.levels:
        levels.add_metric((str(level.level),), level.bytes)
    yield levels
