"""What a cluster stores: many keys that are written once, and checksums that say whether all copies are equal.

`Filling` is the oracle of what nobody touches any more: wherever it is asked for, and whoever has died since, each key
has its value, and no other key has its prefix. `cluster_load.py` is that of what is written all the time.
"""

import http.client
import json
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from integration.cluster_harness import PARTITIONS, Cluster, Member

PREFIX = "filling/"
BATCH = 1000
ATTEMPTS_SECONDS = 60.0


class Filling:
    """Keys `filling/0`, `filling/1`, …, each with a value of its own."""

    def __init__(self, cluster: Cluster, count: int = 20_000) -> None:
        """Writes nothing yet."""
        self._cluster = cluster
        self._values = {f"{PREFIX}{number}": f"value of {number}" for number in range(count)}

    def write(self) -> None:
        """Writes all keys, by the nodes in turn."""
        keys = list(self._values)
        for begin in range(0, len(keys), BATCH):
            node = self._cluster.running[begin // BATCH % len(self._cluster.running)]
            operations = [{"op": "put", "key": key, "value": self._values[key]} for key in keys[begin : begin + BATCH]]
            answer = node.ask("POST", "/v1/batch", json.dumps({"operations": operations}).encode(), _JSON)
            assert answer.status == 200, answer
            refused = [result for result in answer.json["results"] if result["status"] != 204]
            assert not refused, refused[:3]

    def check(self, nodes: Sequence[Member] | None = None) -> None:
        """Lists the keys at each node: all are there, with their values, and none besides."""
        for node in nodes or self._cluster.running:
            found = _listed(node)
            lost = sorted(self._values.keys() - found.keys())
            assert not lost, f"{node.name} has lost {len(lost)} keys: {lost[:10]}"
            assert found == self._values, f"{node.name} lists something else"


def await_equal(cluster: Cluster, seconds: float = 30.0) -> None:
    """Waits until the replicas of each partition have applied the same, and sees that they hold the same then.

    Requires: nobody writes any more.
    """
    for partition in range(PARTITIONS):
        held: dict[str, Any] = {}

        def level(partition: int = partition, held: dict[str, Any] = held) -> bool:
            held.update((node.name, _digest(node, partition)) for node in cluster.running)
            return len({each["applied"] for each in held.values()}) == 1

        cluster.await_true(level, f"the same sequence applied by all replicas of partition {partition}", seconds)
        assert len({each["digest"] for each in held.values()}) == 1, f"partition {partition} differs: {held}"


def _digest(node: Member, partition: int) -> Any:
    answer = node.ask("GET", f"/v1/storage/digest?partition={partition}")
    assert answer.status == 200, (node.name, partition, answer)
    return answer.json


def _listed(node: Member) -> dict[str, str]:
    """Returns the keys with the prefix and their values, as a node lists them; what is not done is asked again."""
    found: dict[str, str] = {}
    cursor = ""
    deadline = time.monotonic() + ATTEMPTS_SECONDS
    with node.connected() as connection:
        while True:
            status, page = _ask(connection, f"/v1/kv?prefix={quote(PREFIX, safe='')}&limit={BATCH}{cursor}")
            if status == 503 and time.monotonic() < deadline:
                continue
            assert status == 200, (node.name, status, page)
            for item in page["items"]:
                found[item["key"]] = item["value"]
            if not page.get("cursor"):
                return found
            cursor = f"&cursor={quote(page['cursor'], safe='')}"


def _ask(connection: http.client.HTTPConnection, target: str) -> tuple[int, Any]:
    connection.request("GET", target)
    response = connection.getresponse()
    return response.status, json.loads(response.read())


_JSON = {"Content-Type": "application/json"}
