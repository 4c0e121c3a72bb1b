"""What a node tells Prometheus of its partitions: enough to alarm on a copy that is missing."""

import asyncio

from corecache.node.metrics import NodeCollector
from node.running import config_of, running


def test_copies_in_sync_stand_beside_those_that_are_wanted() -> None:
    """Of every partition, by the newest view that the node knows: a node alone is wanted and in sync everywhere."""

    async def whole() -> None:
        async with running(config_of()) as at:
            told = {each.name: each.samples for each in NodeCollector(at.node, at.driver).collect()}
            for name in ("corecache_partition_in_sync", "corecache_partition_wanted"):
                assert [(sample.labels, sample.value) for sample in told[name]] == [
                    ({"partition": str(number)}, 1) for number in range(4)
                ]

    asyncio.run(whole())
