"""CLUSTER: the map of slots, in the shapes that cluster-aware clients read, and questions about slots."""

import asyncio
from collections.abc import AsyncIterator

from corecache.identity import Milliseconds
from corecache.placement.slots import SLOT_COUNT, slot_of
from corecache.reports import NodeReport
from corecache.serving.resp.commands.arguments import integer
from corecache.serving.resp.commands.command import Arguments, Command, Refusal
from corecache.serving.resp.commands.whole import FRAME_BYTES
from corecache.serving.resp.routing import endpoint, id_of, ranges
from corecache.serving.resp.session import Session
from corecache.wire.resp import Reply, Status, Verbatim

_HELP = (
    "CLUSTER <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "COUNTKEYSINSLOT <slot>",
    "    Return the number of keys in <slot>.",
    "GETKEYSINSLOT <slot> <count>",
    "    Return up to <count> keys of <slot>.",
    "INFO",
    "    Return the state of the cluster.",
    "KEYSLOT <key>",
    "    Return the slot of <key>.",
    "LINKS",
    "    Return the connections between this node and the others.",
    "MYID",
    "    Return this node's id.",
    "NODES",
    "    Return the nodes and what they lead, a line each.",
    "SHARDS",
    "    Return the nodes and what they lead, as maps.",
    "SLOTS",
    "    Return the ranges of slots and their primaries.",
    "HELP",
    "    Print this help.",
)


def _mine(session: Session) -> str:
    return session.server.service.cluster().node


def _info(session: Session, _: Arguments) -> Reply:
    report = session.server.service.cluster()
    views = [partition.view for partition in report.partitions]
    known = [(first, last) for first, last, node in ranges(session.server) if node is not None]
    served = [(first, last) for first, last, node in ranges(session.server) if node is not None and node.alive]
    assigned, ok = (sum(last - first + 1 for first, last in each) for each in (known, served))
    epoch = max((view.epoch for view in views if view is not None), default=0)
    mine = max((view.epoch for view in views if view is not None and view.primary.node == report.node), default=0)
    lines = {
        "cluster_enabled": 1,
        "cluster_state": "ok" if ok == SLOT_COUNT else "fail",
        "cluster_slots_assigned": assigned,
        "cluster_slots_ok": ok,
        "cluster_slots_pfail": 0,
        "cluster_slots_fail": assigned - ok,
        "cluster_known_nodes": len(report.nodes),
        "cluster_size": sum(node.leads > 0 for node in report.nodes),
        "cluster_current_epoch": epoch,
        "cluster_my_epoch": mine,
    }
    return Verbatim("".join(f"{name}:{value}\r\n" for name, value in lines.items()))


def _myid(session: Session, _: Arguments) -> Reply:
    return id_of(_mine(session))


def _nodes(session: Session, _: Arguments) -> Reply:
    report = session.server.service.cluster()
    led: dict[str, list[str]] = {}
    for first, last, node in ranges(session.server):
        if node is not None:
            led.setdefault(node.id, []).append(str(first) if first == last else f"{first}-{last}")
    lines = []
    for node in report.nodes:
        host, port = endpoint(node.addresses)
        flags = ["myself"] if node.id == report.node else []
        flags += ["master"] if node.alive else ["master", "fail"]
        state = "connected" if node.alive else "disconnected"
        slots = " ".join(led.get(node.id, []))
        line = f"{id_of(node.id)} {host}:{port}@{_peer_port(node)} {','.join(flags)} - 0 0 {node.incarnation} {state}"
        lines.append(f"{line} {slots}".rstrip() + "\n")
    return Verbatim("".join(lines))


def _slots(session: Session, _: Arguments) -> Reply:
    session.cluster_aware = True
    answer: list[Reply] = []
    for first, last, node in ranges(session.server):
        if node is not None:
            host, port = endpoint(node.addresses)
            answer.append([first, last, [host, port, id_of(node.id), {}]])
    return answer


def _shards(session: Session, _: Arguments) -> Reply:
    session.cluster_aware = True
    led: dict[str, list[Reply]] = {}
    for first, last, node in ranges(session.server):
        if node is not None:
            led.setdefault(node.id, []).extend((first, last))
    shards: list[Reply] = []
    for node in session.server.service.cluster().nodes:
        if node.id not in led:
            continue
        host, port = endpoint(node.addresses)
        shown: Reply = {
            "id": id_of(node.id),
            "port": port,
            "ip": host,
            "endpoint": host,
            "role": "master",
            "replication-offset": 0,
            "health": "online" if node.alive else "fail",
        }
        shards.append({"slots": led[node.id], "nodes": [shown]})
    return shards


def _links(session: Session, _: Arguments) -> Reply:
    report = session.server.service.cluster()
    links: list[Reply] = []
    for node in report.nodes:
        if node.id != report.node and node.alive:
            links += [
                {
                    "direction": direction,
                    "node": id_of(node.id),
                    "create-time": 0,
                    "events": "rw",
                    "send-buffer-allocated": 0,
                    "send-buffer-used": 0,
                }
                for direction in ("to", "from")
            ]
    return links


def _keyslot(_: Session, arguments: Arguments) -> Reply:
    return int(slot_of(arguments[2]))


async def _count_keys(session: Session, arguments: Arguments) -> Reply:
    slot = _slot(arguments[2])
    count = 0
    async for _ in _keys_in(session, slot):
        count += 1
    return count


async def _get_keys(session: Session, arguments: Arguments) -> Reply:
    wanted, slot = integer(arguments[3]), integer(arguments[2])
    if wanted < 0 or not 0 <= slot < SLOT_COUNT:
        raise Refusal("ERR Invalid slot or number of keys")
    bytes_max = session.server.config.resp.pipeline_bytes_max
    found: list[Reply] = []
    found_bytes = 0
    if wanted:
        async for key in _keys_in(session, slot):
            found.append(key)
            found_bytes += len(key) + FRAME_BYTES
            if found_bytes > bytes_max:
                raise Refusal(f"ERR the answer would have more than {bytes_max} bytes: ask for fewer keys")
            if len(found) == wanted:
                break
    return found


async def _keys_in(session: Session, slot: int) -> AsyncIterator[bytes]:
    """Gives the keys of a slot, for which all keys are looked at."""
    server = session.server
    start: bytes | None = b""
    while start is not None:
        deadline = Milliseconds(server.clock.now() + server.config.resp.request_timeout_ms)
        page = await server.service.scan(start, None, server.config.limits.page_items_max, deadline, values=False)
        for item in page.items:
            if slot_of(item.key) == slot:
                yield item.key
        start = page.resume
        await asyncio.sleep(0)


def _slot(text: bytes) -> int:
    slot = integer(text)
    if not 0 <= slot < SLOT_COUNT:
        raise Refusal("ERR Invalid slot")
    return slot


def _peer_port(node: NodeReport) -> int:
    port = node.addresses.get("peer", "").rpartition(":")[2]
    return int(port) if port else 0


def _help(_: Session, __: Arguments) -> Reply:
    return [Status(line) for line in _HELP]


_FLAGS = ("loading", "stale")


def _sub(name: str, arity: int, summary: str, since: str = "3.0.0", **how: object) -> Command:
    return Command(
        f"cluster|{name}",
        arity,
        _FLAGS,
        categories=("slow",),
        group="cluster",
        since=since,
        summary=summary,
        **how,  # type: ignore[arg-type] # one of instant and slow
    )


COMMANDS = (
    Command(
        "cluster",
        -2,
        (),
        categories=("slow",),
        group="cluster",
        since="3.0.0",
        summary="Tells of the cluster and its slots.",
        subcommands=(
            _sub("countkeysinslot", 3, "Counts the keys of a slot.", slow=_count_keys),
            _sub("getkeysinslot", 4, "Returns keys of a slot.", slow=_get_keys),
            _sub("help", 2, "Lists the subcommands.", "5.0.0", instant=_help),
            _sub("info", 2, "Tells the state of the cluster.", instant=_info),
            _sub("keyslot", 3, "Returns the slot of a key.", instant=_keyslot),
            _sub("links", 2, "Lists the connections to other nodes.", "7.0.0", instant=_links),
            _sub("myid", 2, "Returns this node's id.", instant=_myid),
            _sub("nodes", 2, "Lists the nodes, a line each.", instant=_nodes),
            _sub("shards", 2, "Lists the nodes with their slots.", "7.0.0", instant=_shards),
            _sub("slots", 2, "Lists ranges of slots with their primaries.", instant=_slots),
        ),
    ),
)
