"""A whole cluster on this machine: what `cluster.sh` does once .venv is there.

One ZooKeeper (`zookeeper.py`) and nodes (`servers.py`), all with their data in `run/cluster`: to remove that directory,
while nothing runs, is to forget the cluster. Started again, it is the same cluster, with what it had.

Rule 1: a start that fails, or is interrupted, ends what it began, and nothing else.
Rule 2: a stop ends everything in bounded time. All nodes are told at once, since none is left to take anything over;
one that does not end in its time is killed, which loses nothing that was acknowledged.
"""

import contextlib
import signal
import sys
from argparse import REMAINDER
from collections.abc import Iterator

import servers
import zookeeper
from processes import Parser, Process, Refusal, lock, run, until
from servers import CLUSTER, Node, command, is_ready

NODES = 3
NODES_MAX = 20
DIRECTORY = CLUSTER / "zookeeper"
NOT_READY = 3


def start(arguments: list[str]) -> None:
    """Starts ZooKeeper and as many nodes as are missing, and says where they are. Raises: Refusal."""
    parser = Parser(
        prog="scripts/cluster.sh",
        usage="scripts/cluster.sh [N] [options of `corecache serve`] | stop | status",
        description="Starts ZooKeeper and N nodes on this machine; ends them; says how they are.",
    )
    parser.add_argument("nodes", type=int, nargs="?", default=NODES, metavar="N", help=f"how many nodes; else {NODES}")
    parser.add_argument("options", nargs=REMAINDER, help="passed on to each node")
    given = parser.parse_args(arguments)
    if not 1 <= given.nodes <= NODES_MAX:
        raise Refusal(f"{given.nodes} nodes: must be 1 to {NODES_MAX}", 2)
    if forbidden := [
        word for word in given.options if word.partition("=")[0] in ("--data-dir", "--zookeeper", "--port")
    ]:
        raise Refusal(f"{forbidden[0]}: each node gets its own here; use scripts/start_server.sh", 2)
    with lock(), contextlib.ExitStack() as undo:
        server = zookeeper.running(DIRECTORY)
        if server is None:
            server = zookeeper.start(DIRECTORY)
            undo.callback(zookeeper.stop, DIRECTORY)
            servers.settle(DIRECTORY, server.address)
        before = list(_nodes(server))
        for _ in range(len(before), given.nodes):
            node, _ = servers.begin([*given.options, "--zookeeper", server.address])
            undo.callback(servers.end, node)
        undo.pop_all()
        found = list(_nodes(server))
    _announce(server, found, "runs already" if len(before) >= given.nodes else "runs")


def stop(arguments: list[str]) -> None:
    """Ends the nodes and then ZooKeeper. Raises: Refusal."""
    Parser(prog="scripts/cluster.sh stop", description="Ends the cluster.").parse_args(arguments)
    with lock():
        server = zookeeper.running(DIRECTORY)
        if server is None:
            print("No cluster is running.")
            return
        nodes = list(_nodes(server))
        for node in nodes:
            node.tell(signal.SIGTERM)
        until(lambda: not any(node.is_alive() for node in nodes), max((node.stop_seconds for node in nodes), default=0))
        for node in nodes:
            word = "Killed, since it did not stop," if node.is_alive() else "Stopped"
            servers.end(node)
            print(f"{word} {node.url} (process {node.pid}).", flush=True)
        zookeeper.stop(DIRECTORY)
        print(f"Stopped ZooKeeper at {server.address} (process {server.pid}).")


def status(arguments: list[str]) -> int:
    """Says what runs; returns 0 if all of it is ready, 1 if nothing runs, 3 if something is not ready."""
    Parser(prog="scripts/cluster.sh status", description="Says what runs.").parse_args(arguments)
    server = zookeeper.running(DIRECTORY)
    if server is None:
        print("No cluster is running.")
        return 1
    words = {True: "ready", False: "not ready"}
    serves = server.serves()
    print(f"ZooKeeper  {server.address}  {words[serves]}  {_trace(server)}")
    nodes = [(node, is_ready(node.url)) for node in _nodes(server)]
    for node, ready in nodes:
        print(f"node       {node.url}  {words[ready]}  {_trace(node)}  {node.data_dir}")
    if nodes:
        print(f"\nMore: {command('.venv/bin/corecache status')} --endpoint {nodes[0][0].url}")
    return 0 if serves and nodes and all(ready for _, ready in nodes) else NOT_READY


def _nodes(server: zookeeper.ZooKeeper) -> Iterator[Node]:
    """Yields the nodes that run and have their views in this ZooKeeper."""
    for node in servers.nodes():
        if server.address in servers.canonical(node.zookeeper).partition("/")[0].split(","):
            yield node


def _announce(server: zookeeper.ZooKeeper, nodes: list[Node], verb: str) -> None:
    print(f"A cluster of {len(nodes)} {'node' if len(nodes) == 1 else 'nodes'} {verb}.")
    print(f"  ZooKeeper  {server.address}  {_trace(server)}")
    for node in nodes:
        print(f"  node       {node.url}  {_trace(node)}")
    print(f"  data       {CLUSTER}")
    print(f"  logs       {CLUSTER.parent}")
    print(f"  stop       {command('scripts/cluster.sh stop')}")
    first, last = nodes[0].url, nodes[-1].url
    port = server.port
    print("\nTry:")
    print(f"  {command('.venv/bin/corecache status')} --endpoint {first}")
    print(f"  {command('.venv/bin/corecache')} put greeting 'Hello, world' --endpoint {first}")
    print(f"  {command('.venv/bin/corecache')} get greeting --endpoint {last}")
    print(f"  {command('scripts/start_server.sh')} --zooKeeperHost localhost --zooKeeperPort {port}   # one node more")


def _trace(process: Process) -> str:
    return f"(process {process.pid})"


if __name__ == "__main__":
    given = sys.argv[1:]
    verb, others = (given[0], given[1:]) if given and given[0] in ("stop", "status") else ("start", given)
    sys.exit(run("cluster", {"start": start, "stop": stop, "status": status}, [verb, *others]))
