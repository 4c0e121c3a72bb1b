"""Who may use a data directory: one process, and only one that knows its format.

The directory holds

* `lock`, which the process that uses the directory holds a lock on, and which names that process;
* `format`, one line that makes the directory ours and says in which format it is;
* `db/`, RocksDB's files, and `coordinator.json`, the embedded coordinator's.

Rule 1: nothing is written into a directory that is not ours. One without `format` is ours only if it holds nothing but
what a crash during its making leaves behind.
Rule 2: a directory of an older format becomes one of ours at opening, before the database is opened: from then on an
older program refuses it.
Rule 3: the lock belongs to the open file, so the system takes it back when the process ends, however it ends.
"""

import fcntl
import os
import re
from pathlib import Path

from corecache.errors import CallerFault

FORMAT = 2
"""The format that this program writes. A higher one is refused; a lower one is read, and called by this number before
anything of this format is written. See `docs/formats.md` for what each has added."""

_LOCK = "lock"
_FORMAT = "format"
_FORMAT_NEW = "format.new"
_LINE = re.compile(r"corecache data directory, format ([1-9][0-9]{0,8})\n")


class DataDirectory:
    """A data directory that this process has for itself, from `open` to `close`."""

    def __init__(self, path: Path, lock: int) -> None:
        """Takes the directory and the descriptor of its locked lock file. Use `open`."""
        self.path = path
        self._lock: int | None = lock

    @property
    def database(self) -> Path:
        """The directory of RocksDB's files."""
        return self.path / "db"

    @property
    def coordinator(self) -> Path:
        """The file of the embedded coordinator."""
        return self.path / "coordinator.json"

    @classmethod
    def open(cls, path: str | Path) -> "DataDirectory":
        """Makes the directory if it is missing, and locks it.

        Raises: CallerFault with the code `data_dir_unwritable`, `data_dir_foreign`, `data_dir_locked` or
        `data_dir_newer`.
        """
        directory = Path(path).absolute()
        try:
            directory.mkdir(parents=True, exist_ok=True)
            _refuse_foreign(directory)
            if not os.access(directory, os.W_OK | os.X_OK):
                raise PermissionError(f"Permission denied: {str(directory)!r}")
            lock = _locked(directory)
            try:
                if _refuse_foreign(directory) != FORMAT:
                    _write_format(directory)
            except BaseException:
                os.close(lock)
                raise
        except OSError as error:
            raise CallerFault(
                "data_dir_unwritable",
                f"The data directory {directory} can't be used ({error}). "
                "Make it writable for this user, or choose another with node.data_dir.",
            ) from error
        return cls(directory, lock)

    def close(self) -> None:
        """Gives the directory up. Does nothing the second time."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _refuse_foreign(directory: Path) -> int | None:
    """Returns the format of a directory that is ours, None if it is as good as empty; else raises CallerFault."""
    try:
        line = (directory / _FORMAT).read_text(encoding="ascii")
    except FileNotFoundError:
        others = sorted(set(os.listdir(directory)) - {_LOCK, _FORMAT_NEW})
        if others:
            raise CallerFault(
                "data_dir_foreign",
                f"{directory} is not empty and not a data directory of CoreCache (it holds {others[0]!r}). "
                "Choose an empty or a new one with node.data_dir.",
            ) from None
        return None
    except (UnicodeDecodeError, IsADirectoryError):
        line = ""
    match = _LINE.fullmatch(line)
    if match is None:
        raise CallerFault(
            "data_dir_foreign",
            f"{directory / _FORMAT} was not written by CoreCache. Choose another directory with node.data_dir.",
        )
    if int(match[1]) > FORMAT:
        raise CallerFault(
            "data_dir_newer",
            f"The data directory {directory} has format {match[1]}; this program knows formats up to {FORMAT}. "
            "Start the newer program that wrote it.",
        )
    return int(match[1])


def _locked(directory: Path) -> int:
    """Returns the descriptor of the lock file, locked. Raises: CallerFault `data_dir_locked`, OSError."""
    lock = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError:
        holder = os.pread(lock, 20, 0).decode("ascii", "replace").strip()
        os.close(lock)
        raise CallerFault(
            "data_dir_locked",
            f"The data directory {directory} is in use by process {holder or 'unknown'}. "
            "Stop that one, or choose another directory with node.data_dir.",
        ) from None
    except BaseException:
        os.close(lock)
        raise
    return lock


def _write_format(directory: Path) -> None:
    """Makes the directory ours, in our format, durably, all or nothing."""
    new = directory / _FORMAT_NEW
    with new.open("w", encoding="ascii") as file:
        file.write(f"corecache data directory, format {FORMAT}\n")
        file.flush()
        os.fsync(file.fileno())
    new.rename(directory / _FORMAT)
    for changed in (directory, directory.parent):
        sync_directory(changed)


def sync_directory(directory: Path) -> None:
    """Makes durable which files are in a directory. Raises: OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
