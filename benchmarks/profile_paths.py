"""Where the time of a read and of a replicated write goes, in the process of their primary.

Three nodes run, and one of them is asked alone, for keys of partitions that it leads: so it is a primary and nothing
else, and the two others are its backups. Each kind of request is measured first without a sampler, for its rate and for
the processor time of one; then again with py-spy, which stops the process for a moment at each sample, for the shares.
The load generator is `closed_loop.py`. What stacks mean is in `profile_folded.py`.

py-spy has to be allowed to look into another process: as root, or where ptrace is not restricted.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import closed_loop, flame_graph, growth_cluster, servers
from benchmarks.clusters import Group
from benchmarks.profile_folded import Thread, layers, weighed
from benchmarks.profile_report import Profile, Profiled
from benchmarks.report import Settings
from benchmarks.servers import Server, ServerError
from benchmarks.systems.dialects import of_http
from corecache.placement.slots import partition_of
from corecache.wire.resp_command import command

PARTITIONS = 8
KEYS = 2_000
PRIMARY = 0
SAMPLES_A_SECOND = 199
"""Not a divisor of anything that the node does by the clock."""
ATTACH_SECONDS = 3
"""The load begins before the sampler, which reads symbols first, and outlives it."""
WARM_SECONDS = 1.0
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


_PICTURES = {"GET, Redis's protocol": "profile-get.svg", "SET, Redis's protocol": "profile-set.svg"}


def measure(directory: Path, settings: Settings, say: Callable[[str], None]) -> Profile:
    """Starts a cluster with its files below the directory, measures each kind of request, and stops it.

    Raises: ServerError if py-spy is missing or may not look, LoadError, OSError.
    """
    sampler = _sampler()
    with growth_cluster.cluster(directory, growth_cluster.NODES, PARTITIONS, settings.memory_bytes) as group:
        primary = group.servers[PRIMARY]
        numbers = _led_keys(group)
        value = os.urandom(settings.value_bytes).hex().encode()[: settings.value_bytes]
        sets = [command(b"SET", b"%012d" % number, value) for number in numbers]
        closed_loop.send_each(primary.resp_ports[0], sets, b"+OK\r\n")
        found = []
        for what, load in _loads(primary, numbers, value, settings.connections).items():
            found.append(_profiled(what, load, primary, sampler, directory, settings.seconds))
            say(f"{what}: {found[-1].run.per_second:,.0f}/s, {found[-1].cpu_us:.1f} µs, {found[-1].samples:,} samples")
    printed = subprocess.run([sampler, "--version"], capture_output=True, text=True, check=False).stdout
    return Profile(settings.connections, printed.strip(), found)


def draw(profile: Profile, directory: Path) -> None:
    """Draws the flame graphs of the requests that have one into a directory. Raises: OSError."""
    for each in profile.paths:
        if each.what in _PICTURES:
            title = f"{each.what}: {each.cpu_us:.0f} µs of processor time an operation, in the process of the primary"
            flame_graph.draw(each.stacks, title, directory / _PICTURES[each.what])


def _loads(primary: Server, numbers: list[int], value: bytes, connections: int) -> dict[str, closed_loop.Load]:
    names = [b"%012d" % number for number in numbers]
    host = b"Host: localhost\r\n"
    put_head = host + b"Content-Length: %d\r\n\r\n" % len(value)
    resp = primary.resp_ports[0]
    answer = b"$%d\r\n%b\r\n" % (len(value), value)
    return {
        "GET, HTTP": closed_loop.Load(
            {primary.port: [b"GET /v1/kv/%b HTTP/1.1\r\n%b\r\n" % (name, host) for name in names]},
            of_http(value),
            connections,
        ),
        "GET, Redis's protocol": closed_loop.Load(
            {resp: [command(b"GET", name) for name in names]}, answer, connections
        ),
        "PUT, HTTP": closed_loop.Load(
            {primary.port: [b"PUT /v1/kv/%b HTTP/1.1\r\n%b%b" % (name, put_head, value) for name in names]},
            of_http(b""),
            connections,
        ),
        "SET, Redis's protocol": closed_loop.Load(
            {resp: [command(b"SET", name, value) for name in names]}, b"+OK\r\n", connections
        ),
    }


def _profiled(
    what: str, load: closed_loop.Load, primary: Server, sampler: str, directory: Path, seconds: int
) -> Profiled:
    load.drive(WARM_SECONDS)
    before, kernel_before = servers.cpu_seconds(primary.pid), _kernel_seconds(primary.pid)
    run = load.drive(seconds)
    cpu_us = (servers.cpu_seconds(primary.pid) - before) / run.requests * 1e6
    kernel_us = (_kernel_seconds(primary.pid) - kernel_before) / run.requests * 1e6
    raw = _sampled(load, primary, sampler, directory / "stacks.raw", seconds)
    stacks = weighed(raw[0], raw[1], cpu_us)
    samples = sum(int(line.rpartition(" ")[2]) for line in raw[0].splitlines())
    return Profiled(what, run, cpu_us, kernel_us, samples, layers(stacks), stacks)


def _sampled(
    load: closed_loop.Load, primary: Server, sampler: str, output: Path, seconds: int
) -> tuple[str, dict[int, Thread]]:
    """Returns the stacks that were taken under load, and what each thread computed meanwhile. Raises: ServerError."""
    command = [sampler, "record", "--native", "--threads", "--format", "raw", "--output", str(output)]
    command += ["--pid", str(primary.pid), "--duration", str(seconds), "--rate", str(SAMPLES_A_SECOND)]
    before = _threads(primary.pid)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as sampling:
        try:
            load.drive(seconds + ATTACH_SECONDS)
            said, _ = sampling.communicate()
        finally:
            sampling.kill()
    if sampling.returncode:
        raise ServerError(f"py-spy ended with {sampling.returncode}: {said.strip()[-500:]}")
    none = Thread("", 0.0, 0.0)
    spent = {}
    for number, now in _threads(primary.pid).items():
        then = before.get(number, none)
        spent[number] = Thread(now.name, now.user_seconds - then.user_seconds, now.kernel_seconds - then.kernel_seconds)
    return output.read_text(), spent


def _led_keys(group: Group) -> list[int]:
    """Returns the numbers of keys of partitions that the first node leads."""
    views = growth_cluster.newest_views(group.ports)
    led = {number for number, view in views.items() if view.primary.node == f"n{PRIMARY}"}
    if not led:
        raise ServerError("the first node leads no partition: run it again when the machine is quiet")
    numbers = (number for number in range(100 * KEYS) if partition_of(b"%012d" % number, PARTITIONS) in led)
    return [number for number, _ in zip(numbers, range(KEYS), strict=False)]


def _threads(pid: int) -> dict[int, Thread]:
    """Returns the threads of a process by their numbers, with the names that the kernel knows."""
    found = {}
    for directory in Path(f"/proc/{pid}/task").iterdir():
        head, _, rest = (directory / "stat").read_text().rpartition(")")
        fields = rest.split()
        found[int(directory.name)] = Thread(
            head.partition("(")[2], int(fields[11]) / TICKS_A_SECOND, int(fields[12]) / TICKS_A_SECOND
        )
    return found


def _kernel_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[12]) / TICKS_A_SECOND


def _sampler() -> str:
    """Returns py-spy's path: beside this Python, or on the search path. Raises: ServerError."""
    beside = Path(sys.executable).with_name("py-spy")
    found = str(beside) if beside.exists() else shutil.which("py-spy")
    if found is None:
        raise ServerError("the profile needs py-spy: pip install py-spy")
    return found
