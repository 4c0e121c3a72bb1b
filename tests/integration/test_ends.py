"""Ends of a node: SIGTERM lets what is under way be answered, SIGKILL leaves nothing in the way of the next start."""

import concurrent.futures
import signal
import socket
from collections.abc import Callable

import pytest

from integration.node_harness import REQUEST_SECONDS, Node, Shim, wait_until

WAL = ".log"
"""What the names of the write-ahead log's files end in."""


def test_sigterm_lets_requests_under_way_be_answered(new_node: Callable[..., Node], shim: Shim) -> None:
    """A put whose fsync is still under way gets its answer; new connections are refused; the exit code is 0."""
    node = new_node(shim=shim).start()
    shim.hold(Shim.SYNC, WAL)
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        under_way = threads.submit(node.put, b"key", b"value")
        shim.await_hit()
        node.terminate()
        wait_until(lambda: not accepts(node), "new connections are refused")
        assert not under_way.done()
        shim.disarm()
        assert under_way.result(REQUEST_SECONDS).status == 204
    assert node.await_end() == 0
    assert "Traceback" not in node.log()
    node.start()
    assert node.value(b"key") == b"value"


def accepts(node: Node) -> bool:
    """Says whether a new connection gets an answer."""
    try:
        return node.ask("GET", "/readyz").status == 200
    except OSError:
        return False


def test_sigterm_does_not_wait_for_an_idle_connection(new_node: Callable[..., Node]) -> None:
    """An open connection without a request does not hold the end up."""
    node = new_node(settings={"node.stop_timeout_ms": 600_000}).start()
    with node.connected() as connection:
        connection.request("GET", "/healthz")
        assert connection.getresponse().read() is not None
        node.terminate()
        assert node.await_end() == 0


def test_sigterm_cuts_off_what_does_not_end(new_node: Callable[..., Node]) -> None:
    """A body that never comes to its end is given up after `node.stop_timeout_ms`."""
    node = new_node(settings={"node.stop_timeout_ms": 200, "http.body_timeout_ms": 600_000}).start()
    with socket.create_connection(("127.0.0.1", node.port)) as link:
        link.sendall(b"PUT /v1/kv/key HTTP/1.1\r\nHost: n\r\nContent-Length: 10\r\n\r\nabc")
        assert node.get(b"other").status == 404
        node.terminate()
        assert node.await_end() == 0
    node.start()
    assert node.value(b"key") is None


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_does_no_harm(new_node: Callable[..., Node], shim: Shim, second: signal.Signals) -> None:
    """While the node drains, another signal neither breaks the drain nor what it has acknowledged."""
    node = new_node(shim=shim).start()
    assert node.put(b"key", b"old").status == 204
    shim.hold(Shim.SYNC, WAL)
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        under_way = threads.submit(told, node, b"key", b"new")
        shim.await_hit()
        node.terminate()
        wait_until(lambda: not accepts(node), "new connections are refused")
        assert node.process is not None
        node.process.send_signal(second)
        shim.disarm()
        answer = under_way.result(REQUEST_SECONDS)
    node.await_end()
    assert "Traceback" not in node.log()
    node.start()
    assert node.value(b"key") in ({b"new"} if answer == "done" else {b"old", b"new"})


def told(node: Node, key: bytes, value: bytes) -> str:
    """Puts and returns what the client was told; a connection cut off tells nothing."""
    try:
        return "done" if node.put(key, value).status == 204 else "unknown"
    except OSError:
        return "unknown"


def test_kill_nine_then_start_again(new_node: Callable[..., Node]) -> None:
    """Ten times in a row, with a write each: no lock, no file and no port is left in the way."""
    node = new_node()
    for turn in range(10):
        node.start()
        assert node.value(b"turn") == (b"%d" % (turn - 1) if turn else None)
        assert node.put(b"turn", b"%d" % turn).status == 204
        node.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_during_the_start_ends_cleanly(new_node: Callable[..., Node], number: signal.Signals) -> None:
    """Whenever in its first moments a node is told to stop, it ends, and the next start is as any other."""
    node = new_node()
    node.spawn()
    wait_until(node.data_dir.exists, "the data directory")
    assert node.process is not None
    node.process.send_signal(number)
    node.await_end()
    assert "Traceback" not in node.log()
    node.start()
    assert node.put(b"key", b"value").status == 204
