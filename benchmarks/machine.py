"""Describes the machine that a benchmark ran on, as far as it decides the numbers.

The sync latency is measured on the very file system that the stores are on: durable writes can't be faster than it
allows. On a memory file system it is next to nothing, and a benchmark of durable writes there means nothing.
"""

import os
import platform
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

PACKAGES = ("rocksdict", "uvicorn", "httptools", "uvloop", "msgspec", "starlette")
SYNC_COUNT = 200
SYNC_BYTES = 4096


class Machine(msgspec.Struct, frozen=True):
    """Cores, memory, kernel, versions, and what a sync costs (`fdatasync` after a write of 4 KiB)."""

    processor: str
    cores: int
    memory_bytes: int
    kernel: str
    python: str
    file_system: str
    sync_p50_ms: float
    sync_p99_ms: float
    versions: dict[str, str]


def describe(directory: Path) -> Machine:
    """Returns the description; the file system is that of the directory, in which a file is written and removed."""
    syncs = _sync_ms(directory)
    return Machine(
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        kernel=f"{platform.system()} {platform.release()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        file_system=_file_system(directory),
        sync_p50_ms=syncs[len(syncs) // 2],
        sync_p99_ms=syncs[len(syncs) * 99 // 100],
        versions=_versions(),
    )


def _sync_ms(directory: Path) -> list[float]:
    probe = directory / "sync-probe"
    block = os.urandom(SYNC_BYTES)
    times = []
    with probe.open("wb", buffering=0) as file:
        for _ in range(SYNC_COUNT):
            file.write(block)
            begun = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - begun) * 1000)
    probe.unlink()
    return sorted(times)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _file_system(directory: Path) -> str:
    """Returns the type of the file system whose mount point is the longest that the directory lies below."""
    found = ("", "unknown")
    for line in Path("/proc/mounts").read_text().splitlines():
        _, point, kind, *_ = line.split(" ")
        if directory.resolve().is_relative_to(point) and len(point) >= len(found[0]):
            found = (point, kind)
    return found[1]


def _versions() -> dict[str, str]:
    # wrk prints its version with its usage, and ends with 1.
    printed = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False).stdout.split()
    versions = {"wrk": printed[1]} if len(printed) > 1 else {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "absent"
    return versions
