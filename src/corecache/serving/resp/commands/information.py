"""INFO: figures about the node, in sections of lines.

What is told is known or measured; a figure that Redis has and this node does not is left out. Where there is something
like it in Redis it has Redis's name, what is only ours begins with `corecache_`.
"""

import math
import os
import platform
import resource
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import corecache
from corecache.operations import NEVER
from corecache.serving.resp.commands.administration import copies_besides
from corecache.serving.resp.commands.clients import REDIS_VERSION, mode_of
from corecache.serving.resp.commands.command import Arguments, Command
from corecache.serving.resp.commands.whole import pages
from corecache.wire.resp import Reply, Verbatim

if TYPE_CHECKING:
    from corecache.reports import StorageReport
    from corecache.serving.resp.session import Session


async def _info(session: "Session", arguments: Arguments) -> Reply:
    """Tells the sections asked for, or all but Keyspace, for which all keys are counted: that must be asked for."""
    asked = {word.lower().decode("utf-8", "replace") for word in arguments[1:]}
    everything = not asked or not asked.isdisjoint(("default", "all", "everything"))
    storage = await session.server.service.storage()
    parts = [
        _section(name, make(session, storage))
        for name, make in _SECTIONS.items()
        if everything or name.lower() in asked
    ]
    if "keyspace" in asked:
        parts.append(_section("Keyspace", await _keyspace_section(session)))
    return Verbatim("\r\n".join(parts))


def _section(name: str, lines: Mapping[str, object]) -> str:
    return f"# {name}\r\n" + "".join(f"{field}:{value}\r\n" for field, value in lines.items())


def _server_section(session: "Session", _: "StorageReport") -> Mapping[str, object]:
    server = session.server
    now_ms = server.clock.today()
    up_seconds = max(0, now_ms - server.started_ms) // 1000
    system = platform.uname()
    return {
        "redis_version": REDIS_VERSION,
        "corecache_version": corecache.__version__,
        "corecache_node": server.service.cluster().node,
        "redis_mode": mode_of(session),
        "os": f"{system.system} {system.release} {system.machine}",
        "arch_bits": 64,
        "process_id": os.getpid(),
        "tcp_port": server.port,
        "server_time_usec": 1000 * now_ms,
        "uptime_in_seconds": up_seconds,
        "uptime_in_days": up_seconds // 86_400,
    }


def _clients_section(session: "Session", _: "StorageReport") -> Mapping[str, object]:
    server = session.server
    return {
        "connected_clients": server.connections,
        "maxclients": server.config.resp.connections_max,
        "blocked_clients": 0,
    }


def _memory_section(_: "Session", storage: "StorageReport") -> Mapping[str, object]:
    """The process's memory is what Redis's allocator would be asked for."""
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    with open("/proc/self/statm", encoding="ascii") as file:
        used_bytes = int(file.read().split()[1]) * page_bytes
    peak_bytes = max(used_bytes, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    total_bytes = os.sysconf("SC_PHYS_PAGES") * page_bytes
    return {
        "used_memory": used_bytes,
        "used_memory_human": _human(used_bytes),
        "used_memory_rss": used_bytes,
        "used_memory_rss_human": _human(used_bytes),
        "used_memory_peak": peak_bytes,
        "used_memory_peak_human": _human(peak_bytes),
        "total_system_memory": total_bytes,
        "total_system_memory_human": _human(total_bytes),
        "maxmemory": 0,
        "maxmemory_human": "0B",
        "maxmemory_policy": "noeviction",
        "corecache_memory_budget_bytes": storage.memory_budget_bytes,
        "corecache_memtable_bytes": storage.memtable_bytes,
        "corecache_cache_bytes": storage.cache_bytes,
    }


def _human(count: int) -> str:
    """Returns a number of bytes as Redis shows it to people."""
    if count < 1024:
        return f"{count}B"
    power = min(4, int(math.log2(count)) // 10)
    return f"{count / 1024**power:.2f}{'BKMGT'[power]}"


def _persistence_section(session: "Session", storage: "StorageReport") -> Mapping[str, object]:
    return {
        "loading": int(session.server.service.unready() is not None),
        "rdb_bgsave_in_progress": 0,
        "aof_enabled": 1,
        "aof_rewrite_in_progress": 0,
        "corecache_log_bytes": storage.log_bytes,
        "corecache_sstable_bytes": storage.sstable_bytes,
        "corecache_disk_used_bytes": storage.disk_used_bytes,
        "corecache_disk_budget_bytes": storage.disk_budget_bytes,
        "corecache_disk_free_bytes": storage.disk_free_bytes,
        "corecache_accepts_puts": int(storage.accepts_puts),
        "corecache_running_flushes": storage.running_flushes,
        "corecache_running_compactions": storage.running_compactions,
    }


def _stats_section(session: "Session", storage: "StorageReport") -> Mapping[str, object]:
    server = session.server
    return {
        "total_connections_received": server.connections_total,
        "total_commands_processed": server.commands_total,
        "rejected_connections": server.refused_total,
        "evicted_keys": 0,
        "pubsub_channels": 0,
        "pubsub_patterns": 0,
        "corecache_cache_hits": storage.cache_hits,
        "corecache_cache_misses": storage.cache_misses,
        "corecache_stall_ms": storage.stall_ms,
    }


def _replication_section(session: "Session", _: "StorageReport") -> Mapping[str, object]:
    report = session.server.service.cluster()
    return {
        "role": "master",
        "connected_slaves": copies_besides(session.server),
        "corecache_nodes": len(report.nodes),
        "corecache_nodes_alive": sum(node.alive for node in report.nodes),
        "corecache_partitions": len(report.partitions),
        "corecache_partitions_held": sum(partition.role != "none" for partition in report.partitions),
        "corecache_partitions_led": sum(partition.role == "primary" for partition in report.partitions),
    }


def _cpu_section(_: "Session", __: "StorageReport") -> Mapping[str, object]:
    mine, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "used_cpu_sys": f"{mine.ru_stime:.6f}",
        "used_cpu_user": f"{mine.ru_utime:.6f}",
        "used_cpu_sys_children": f"{children.ru_stime:.6f}",
        "used_cpu_user_children": f"{children.ru_utime:.6f}",
    }


def _cluster_section(session: "Session", _: "StorageReport") -> Mapping[str, object]:
    return {"cluster_enabled": int(mode_of(session) == "cluster")}


async def _keyspace_section(session: "Session") -> Mapping[str, object]:
    today = session.server.clock.today()
    keys = expiring = left_ms = 0
    async for items in pages(session):
        keys += len(items)
        for item in items:
            if item.record.expires != NEVER:
                expiring += 1
                left_ms += max(0, item.record.expires - today)
    return {"db0": f"keys={keys},expires={expiring},avg_ttl={left_ms // max(1, expiring)}"} if keys else {}


_SECTIONS: Final[Mapping[str, Callable[["Session", "StorageReport"], Mapping[str, object]]]] = {
    "Server": _server_section,
    "Clients": _clients_section,
    "Memory": _memory_section,
    "Persistence": _persistence_section,
    "Stats": _stats_section,
    "Replication": _replication_section,
    "CPU": _cpu_section,
    "Cluster": _cluster_section,
}

COMMANDS: Final = (
    Command(
        "info",
        -1,
        ("loading", "stale"),
        categories=("slow", "dangerous"),
        group="server",
        since="1.0.0",
        summary="Tells figures about the node.",
        slow=_info,
    ),
)
