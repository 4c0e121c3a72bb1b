"""Stacks that a sampler took, as processor time of layers. Pure.

py-spy gives each stack with the number of samples in it, in one line, from the outermost frame to the innermost,
native frames among them. Three rules make time of that:

Rule 1: samples are worth the processor time that the kernel counted for their thread, in the program and in the kernel,
whatever their number. A sampler also takes threads that wait for a processor, which they lose most often in a call
of the kernel that wakes another process, and it takes none of threads without Python; these are one frame each, by
their name. Stacks that wait for a lock take no processor, and are left out.
Rule 2: a stack belongs to the layer of its innermost frame that tells one: the frames of the interpreter and of libc
belong to who called them, except for system calls, which are the kernel's.
Rule 3: a frame is a function and a file within its package. Where a package is on a machine is nobody's business.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec

SOCKETS = "kernel: sockets"
LOOP = "event loop"
PARSER = "parsers and formats"
SERVING = "serving"
NODE = "node and driver"
REPLICATION = "replication"
STORAGE = "storage, Python"
ROCKSDB = "RocksDB"
DISK = "kernel: files and syncs"
LINK = "link"
KERNEL = "in the kernel"
REST = "interpreter, the rest"
LAYERS = (SOCKETS, LOOP, PARSER, SERVING, NODE, REPLICATION, STORAGE, ROCKSDB, DISK, LINK, REST)

_PACKAGES = {
    "serving": SERVING,
    "wire": PARSER,
    "replication": REPLICATION,
    "storage": STORAGE,
    "link": LINK,
}
_KERNEL_CALLS = re.compile(
    r"^(__libc_)?(p?writev?|p?readv?|pwrite64|pread64|send|sendto|sendmsg|recv|recvfrom|recvmsg|epoll_p?wait2?|epoll_ctl"
    r"|fsync|fdatasync|sync_file_range|fallocate(64)?) \(libc"
)
_WAIT_CALLS = re.compile(r"^(PyThread_acquire_lock|take_gil|pthread_cond|sem_|futex)|\(_queue\.")
_LOOP_FILES = re.compile(
    r"\((asyncio/|uvloop/|_asyncio\.|loop\.c|core\.c|linux\.c|stream\.c|async\.c|loop-watcher\.c|queue\.h|epoll\.c|threading\.py"
    r"|concurrent/)"
)
_PARSER_FILES = re.compile(r"\((hiredis|httptools|parser\.c|llhttp|msgspec|_core\.|http_parser)")
_ABSOLUTE = re.compile(r"\(/(?:[^()]*/)?(?:site-packages|dist-packages|src|lib/python[\d.]+)/|\(/[^()]*/(?=[^()/]+\))")
_LINE = re.compile(r":\d+\)$")
_ADDRESS = re.compile(r"^0x[0-9a-f]+ ")
_THREAD = re.compile(r"^thread \((\d+)\)(?:: (.*))?$")
_NOISE = re.compile(r"^(Py_X?DECREF|Py_X?INCREF|__Pyx_PyObject_\w+|PyObject_\w+|_Py\w+) \(")
_OUTERMOST = ("run_forever (loop.c)", "Thread.run (threading.py)", "Runner.run (asyncio/runners.py)")


class Stack(msgspec.Struct, frozen=True):
    """Frames, the outermost first, and the processor time that an operation spends in the innermost, in µs."""

    frames: list[str]
    us: float


class Thread(msgspec.Struct, frozen=True):
    """A thread: its name, and the processor time that it had, in its program and in the kernel."""

    name: str
    user_seconds: float
    kernel_seconds: float


def weighed(raw: str, threads: Mapping[int, Thread], operation_us: float) -> list[Stack]:
    """Returns the stacks that py-spy wrote (`--format raw --threads`), sharing out what an operation takes, in µs."""
    samples = _samples(raw)
    whole_seconds = sum(thread.user_seconds + thread.kernel_seconds for thread in threads.values())
    stacks: list[Stack] = []
    for number, thread in threads.items():
        said_name, sampled = samples.get(number, ("", {}))
        name = f"thread {said_name or thread.name}"
        for in_kernel, seconds in ((False, thread.user_seconds), (True, thread.kernel_seconds)):
            us = operation_us * seconds / whole_seconds
            some = {frames: count for frames, count in sampled.items() if _is_kernel_call(frames) == in_kernel}
            total = sum(some.values())
            stacks += [Stack([name, *frames], us * count / total) for frames, count in some.items()]
            if not some and us > 0:
                stacks.append(Stack([name, KERNEL] if in_kernel else [name], us))
    return sorted((stack for stack in stacks if stack.us > 0), key=lambda stack: stack.frames)


def _samples(raw: str) -> dict[int, tuple[str, dict[tuple[str, ...], int]]]:
    """Returns by thread its name, and how often each stack was seen that does not wait for a lock."""
    samples: dict[int, tuple[str, dict[tuple[str, ...], int]]] = {}
    for line in raw.splitlines():
        text, _, count = line.rpartition(" ")
        root, *frames = text.split(";")
        found = _THREAD.match(root)
        stack = cleaned(frames)
        if found is None or any(_WAIT_CALLS.search(frame) for frame in stack):
            continue
        _, of_thread = samples.setdefault(int(found[1]), (found[2] or "", {}))
        of_thread[stack] = of_thread.get(stack, 0) + int(count)
    return samples


def cleaned(frames: Iterable[str]) -> tuple[str, ...]:
    """Returns a stack without the loop around a callback, without lines and addresses, and without the same twice."""
    kept: list[str] = []
    for frame in frames:
        plain = _ADDRESS.sub("", _LINE.sub(")", _ABSOLUTE.sub("(", frame)))
        if plain in _OUTERMOST:
            kept.clear()
        elif not _NOISE.match(plain) and kept[-1:] != [plain]:
            kept.append(plain)
    first = next((place for place, frame in enumerate(kept) if "(corecache/" in frame), 0)
    # How the loop comes to a callback is always the same, and not always seen.
    return (*(frame for frame in kept[:first] if not _LOOP_FILES.search(frame)), *kept[first:])


def layer_of(frames: Iterable[str]) -> str:
    """Returns the layer that a stack belongs to."""
    inwards = list(frames)
    if _is_kernel_call(inwards):
        return DISK if any("rocksdb" in frame or "rocksdict" in frame for frame in inwards) else SOCKETS
    for frame in reversed(inwards):
        layer = _layer_of_frame(frame)
        if layer is not None:
            return layer
    return REST


def layers(stacks: Iterable[Stack]) -> dict[str, float]:
    """Returns what an operation spends in each layer, in µs."""
    spent = dict.fromkeys(LAYERS, 0.0)
    for stack in stacks:
        spent[layer_of(stack.frames)] += stack.us
    return spent


def _is_kernel_call(frames: Sequence[str]) -> bool:
    return bool(frames) and (frames[-1] == KERNEL or _KERNEL_CALLS.match(frames[-1]) is not None)


def _layer_of_frame(frame: str) -> str | None:
    if "rocksdb" in frame or "rocksdict" in frame:
        return ROCKSDB
    package = frame.partition("(corecache/")[2].partition("/")[0]
    if package:
        return _PACKAGES.get(package, NODE)
    if _PARSER_FILES.search(frame):
        return PARSER
    return LOOP if _LOOP_FILES.search(frame) else None
