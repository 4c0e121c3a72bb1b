"""Where a key's commands are carried out, as a client of the cluster's protocol sees it.

Two kinds of client are told apart. One that came to the port that the map names, or that has asked for the map on this
connection (CLUSTER SLOTS, CLUSTER SHARDS), knows what MOVED means, and is sent to the primary. For all others this node
asks the primary itself.

The map names a primary for each slot, and no replicas: a node here leads some partitions and holds copies of others,
and clients take a node for one or the other.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha1

from corecache.placement.slots import SLOT_COUNT, slot_of
from corecache.reports import NodeReport
from corecache.serving.resp.commands.command import Refusal
from corecache.serving.resp.session import Server

_CROSS_SLOT = "CROSSSLOT Keys in request don't hash to the same slot"


def one_slot(keys: Sequence[bytes]) -> None:
    """Raises Refusal unless all keys are of one slot."""
    slot = slot_of(keys[0])
    for key in keys[1:]:
        if slot_of(key) != slot:
            raise Refusal(_CROSS_SLOT)


def moved(server: Server, key: bytes) -> Refusal:
    """Returns the answer that sends a client to a key's primary."""
    primary = server.service.primary(key)
    if primary is None:
        return Refusal("CLUSTERDOWN Hash slot not served")
    host, port = endpoint(primary.addresses)
    return Refusal(f"MOVED {slot_of(key)} {host}:{port}")


def ranges(server: Server) -> list[tuple[int, int, NodeReport | None]]:
    """Returns all slots, as ranges from a first to a last one, each with its primary (None: not known)."""
    report = server.service.cluster()
    nodes = {node.id: node for node in report.nodes}
    found: list[tuple[int, int, NodeReport | None]] = []
    for partition in report.partitions:
        if partition.first_slot > partition.last_slot:
            continue
        node = nodes.get(partition.view.primary.node) if partition.view is not None else None
        if found and found[-1][2] is node and found[-1][1] == partition.first_slot - 1:
            found[-1] = (found[-1][0], partition.last_slot, node)
        else:
            found.append((partition.first_slot, partition.last_slot, node))
    assert found[-1][1] == SLOT_COUNT - 1
    return found


def endpoint(addresses: Mapping[str, str]) -> tuple[str, int]:
    """Returns the host and port that the map names for a node of these addresses, `"", 0` if it has told none."""
    address = addresses.get("resp_cluster") or addresses.get("resp") or ""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port) if port else 0


def id_of(node: str) -> str:
    """Returns a node's name as this protocol wants it: 40 hexadecimal digits."""
    return sha1(node.encode(), usedforsecurity=False).hexdigest()
