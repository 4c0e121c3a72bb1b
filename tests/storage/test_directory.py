"""Who may use a data directory, tried on real directories and real processes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from corecache.errors import CallerFault
from corecache.storage.directory import FORMAT, DataDirectory


def refused(path: Path) -> CallerFault:
    """Returns the refusal to open a directory."""
    with pytest.raises(CallerFault) as caught:
        DataDirectory.open(path)
    assert "\n" not in caught.value.message
    assert str(path) in caught.value.message
    return caught.value


def test_a_missing_directory_is_made_and_opens_again(tmp_path: Path) -> None:
    """A directory several levels deep is made; after closing, it can be opened again."""
    path = tmp_path / "a" / "b"
    for _ in range(2):
        directory = DataDirectory.open(path)
        assert directory.database == path / "db"
        assert directory.coordinator == path / "coordinator.json"
        directory.close()
        directory.close()
    assert (path / "format").read_text() == f"corecache data directory, format {FORMAT}\n"


def test_a_directory_in_use_is_refused_and_names_the_process(tmp_path: Path) -> None:
    """A second opening is refused, by this process and by another; it says who has the directory."""
    directory = DataDirectory.open(tmp_path)
    error = refused(tmp_path)
    assert error.code == "data_dir_locked"
    assert f"process {os.getpid()}" in error.message
    script = f"from corecache.storage.directory import DataDirectory; DataDirectory.open({str(tmp_path)!r})"
    path = os.pathsep.join(sys.path)
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env={"PYTHONPATH": path})
    assert re.search(rf"in use by process {os.getpid()}\b", ended.stderr)
    directory.close()
    DataDirectory.open(tmp_path).close()


def test_the_lock_of_a_process_that_died_is_free(tmp_path: Path) -> None:
    """A process that ends without closing the directory leaves no lock."""
    script = (
        "import os; from corecache.storage.directory import DataDirectory; "
        f"DataDirectory.open({str(tmp_path)!r}); os._exit(7)"
    )
    path = os.pathsep.join(sys.path)
    assert subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": path}).returncode == 7
    DataDirectory.open(tmp_path).close()


def test_a_directory_with_anything_else_in_it_is_refused_untouched(tmp_path: Path) -> None:
    """A non-empty directory without our format file is foreign, and nothing is written into it."""
    (tmp_path / "letters.txt").write_text("dear")
    error = refused(tmp_path)
    assert error.code == "data_dir_foreign"
    assert "letters.txt" in error.message
    assert os.listdir(tmp_path) == ["letters.txt"]


@pytest.mark.parametrize("line", [b"", b"redis\n", b"corecache data directory, format 0\n", b"\xff\xfe", b"\0" * 40])
def test_a_format_file_that_is_not_ours_is_refused(tmp_path: Path, line: bytes) -> None:
    """A format file with any other content makes the directory foreign."""
    (tmp_path / "format").write_bytes(line)
    assert refused(tmp_path).code == "data_dir_foreign"


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    """A directory of a higher format is refused; the message names both formats."""
    (tmp_path / "format").write_text(f"corecache data directory, format {FORMAT + 1}\n")
    error = refused(tmp_path)
    assert error.code == "data_dir_newer"
    assert f"format {FORMAT + 1}" in error.message
    assert f"up to {FORMAT}" in error.message


@pytest.mark.parametrize("left_behind", [[], ["format.new"]])
def test_an_older_format_becomes_ours(tmp_path: Path, left_behind: list[str]) -> None:
    """A directory of format 1 opens, also after a crash in the middle of it, and says from then on which it is now."""
    (tmp_path / "format").write_text("corecache data directory, format 1\n")
    (tmp_path / "db").mkdir()
    for name in left_behind:
        (tmp_path / name).write_text("corecache da")
    DataDirectory.open(tmp_path).close()
    assert (tmp_path / "format").read_text() == f"corecache data directory, format {FORMAT}\n"
    assert not (tmp_path / "format.new").exists()


@pytest.mark.parametrize("left_behind", [[], ["lock"], ["lock", "format.new"]])
def test_what_a_crash_during_its_making_leaves_is_accepted(tmp_path: Path, left_behind: list[str]) -> None:
    """A directory that was half made when the process died becomes ours."""
    for name in left_behind:
        (tmp_path / name).write_text("corecache da")
    DataDirectory.open(tmp_path).close()
    assert not (tmp_path / "format.new").exists()


def test_a_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """A file in the directory's place, or above it, gives one clear line."""
    (tmp_path / "file").write_text("")
    assert refused(tmp_path / "file").code == "data_dir_unwritable"
    assert refused(tmp_path / "file" / "below").code == "data_dir_unwritable"


def test_a_directory_on_a_read_only_file_system_is_refused() -> None:
    """A place where nobody can make a directory gives one clear line, whatever rights this user has."""
    assert refused(Path("/proc/corecache")).code == "data_dir_unwritable"
