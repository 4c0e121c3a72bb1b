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
from integration.node_harness import wait_until


def test_2_ports_directories_and_flush_conditions_come_from_the_configuration(tmp_path: Path) -> None:
    """The file's port range, data directory, node id, partitions and memtable size are what a node shows."""
    lease = PortLease()
    data_dir = tmp_path / "kept" / "here"
    (tmp_path / "corecache.toml").write_text(
        f"[http]\nport_range_first = {lease.number}\nport_range_last = {lease.number}\n"
        f'[node]\ndata_dir = "{data_dir}"\nid = "by-the-book"\n'
        "[storage]\nflush_memtable_bytes = 262144\n[cluster]\npartitions = 3\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CORECACHE_")}
    environment["PYTHONPATH"] = os.pathsep.join(str(Path(path).absolute()) for path in sys.path if path)
    program = [sys.executable, "-c", "from corecache.cli import main; main()", "serve"]
    connection = http.client.HTTPConnection("127.0.0.1", lease.number)
    with (
        contextlib.closing(connection),
        subprocess.Popen(program, cwd=tmp_path, env=environment, stderr=subprocess.PIPE) as process,
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


def _shown(connection: http.client.HTTPConnection, path: str) -> Any:
    connection.request("GET", path)
    return json.loads(connection.getresponse().read())
