"""Weakness 2: nothing is fixed in the program. One file says where and when, and that is what happens."""

import contextlib
import http.client
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from corecache.chaos.processes import PortLease
from corecache.chaos.zookeeper import ZooKeeperServer
from integration.node_harness import wait_until

_SERVE = [sys.executable, "-c", "from corecache.cli import main; main()", "serve"]


def _environment() -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CORECACHE_")}
    return environment | {"PYTHONPATH": os.pathsep.join(str(Path(path).absolute()) for path in sys.path if path)}


def test_2_ports_directories_and_flush_conditions_come_from_the_configuration(tmp_path: Path) -> None:
    """The file's port range, data directory, node id, partitions and memtable size are what a node shows."""
    lease = PortLease()
    data_dir = tmp_path / "kept" / "here"
    (tmp_path / "corecache.toml").write_text(
        f"[http]\nport_range_first = {lease.number}\nport_range_last = {lease.number}\n"
        f'[node]\ndata_dir = "{data_dir}"\nid = "by-the-book"\n'
        "[storage]\nflush_memtable_bytes = 262144\n[cluster]\npartitions = 3\n"
    )
    connection = http.client.HTTPConnection("127.0.0.1", lease.number)
    with (
        contextlib.closing(connection),
        subprocess.Popen(_SERVE, cwd=tmp_path, env=_environment(), stderr=subprocess.PIPE) as process,
    ):
        try:
            assert process.stderr is not None
            assert f"http=http://127.0.0.1:{lease.number}" in process.stderr.readline().decode()
            for number in range(30):
                connection.request("PUT", f"/v1/kv/{number}", os.urandom(100_000))
                answer = connection.getresponse()
                assert (answer.status, answer.read()) == (204, b"")
            wait_until(lambda: _shown(connection, "/v1/storage")["sstable_bytes"] > 0, "a flush by size")
            cluster = _shown(connection, "/v1/cluster")
        finally:
            process.terminate()
            process.communicate()
            lease.end()
    assert (cluster["node"], len(cluster["partitions"])) == ("by-the-book", 3)
    assert (data_dir / "db").is_dir()


def test_the_host_option_is_also_where_other_nodes_find_a_node(tmp_path: Path, zookeeper: ZooKeeperServer) -> None:
    """Two nodes, each told no more than README says, on an address of its own: the second is filled."""
    leases = [PortLease(), PortLease()]
    with contextlib.ExitStack() as ends:
        for lease, host in zip(leases, ("127.0.0.2", "127.0.0.3"), strict=True):
            ends.callback(lease.end)
            options = ["--zookeeper", f"{zookeeper.address}/host", "--host", host, "--port", str(lease.number)]
            process = subprocess.Popen(
                [*_SERVE, *options, "--data-dir", str(tmp_path / host)], env=_environment(), stderr=subprocess.PIPE
            )
            ends.callback(process.communicate)
            ends.callback(process.terminate)
            assert process.stderr is not None
            ready = process.stderr.readline().decode()
            assert f"http=http://{host}:{lease.number}" in ready
            assert f"peer={host}:" in ready
        connection = ends.enter_context(
            contextlib.closing(http.client.HTTPConnection("127.0.0.3", leases[1].number, timeout=10))
        )
        wait_until(lambda: _copies(connection) == {2}, "both nodes have all partitions")


def _copies(connection: http.client.HTTPConnection) -> set[int]:
    views = [each["view"] for each in _shown(connection, "/v1/cluster")["partitions"]]
    return {len(view["in_sync"]) if view else 0 for view in views}


def _shown(connection: http.client.HTTPConnection, path: str) -> Any:
    connection.request("GET", path)
    return json.loads(connection.getresponse().read())
