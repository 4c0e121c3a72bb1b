"""`install.sh` where it can't install, where it need not, and what the locks hold.

Here the script sees only the few commands that a test gives it, so a machine without a fit Python can be had anywhere.
"""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = ("requirements.lock", "requirements-dev.lock")


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A directory with the script, the locks and a `bin` that holds what the script calls, but no Python."""
    (tmp_path / "scripts").mkdir()
    for name in ("scripts/install.sh", "pyproject.toml", *LOCKS):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "bin").mkdir()
    for name in ("bash", "cksum", "dirname", "flock", "mkdir", "rm"):
        found = shutil.which(name)
        assert found is not None
        (tmp_path / "bin" / name).symlink_to(found)
    return tmp_path


def install(bare: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the script with only `bin` on the path."""
    return subprocess.run(
        [bare / "bin/bash", bare / "scripts/install.sh", *arguments],
        env={"PATH": str(bare / "bin"), "HOME": str(bare)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def a_python(bare: Path, script: str) -> None:
    """Puts a python3 there that acts like this shell script."""
    path = bare / "bin/python3"
    path.write_text(f"#!{bare / 'bin/bash'}\n{script}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("script", [None, "exit 1"])
def test_without_a_fit_python_it_says_which_is_needed(bare: Path, script: str | None) -> None:
    """No Python, or only an older one: one line that says what is needed, and no .venv."""
    if script is not None:
        a_python(bare, script)
    done = install(bare)
    assert done.returncode == 1
    assert done.stderr.startswith("install: Python 3.11 or newer is needed and not found")
    assert len(done.stderr.splitlines()) == 1
    assert not (bare / ".venv").exists()


def test_without_the_venv_module_it_says_what_to_install(bare: Path) -> None:
    """A Python that makes no virtual environments, as Debian's: one line with the package that is missing."""
    a_python(bare, '[[ "$2" != *ensurepip* ]]')
    done = install(bare)
    assert done.returncode == 1
    assert done.stderr == (
        "install: python3 can't make virtual environments; on Debian and Ubuntu: apt-get install python3-venv\n"
    )


def test_an_unknown_option_is_refused(bare: Path) -> None:
    """A misspelt --dev installs nothing."""
    done = install(bare, "--develop")
    assert (done.returncode, done.stderr) == (1, "install: unknown option --develop; there is only --dev\n")


def pins(lock: str) -> dict[str, str]:
    """Returns the exact version of each package that a lock holds."""
    return dict(re.findall(r"^([a-z0-9.-]+)==([^ ]+)", (ROOT / lock).read_text(), re.MULTILINE))


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_is_exact_hashed_and_names_no_host(lock: str) -> None:
    """Every package has one version and at least one hash, and nothing says where it comes from."""
    entries = re.split(r"^(?=[a-z0-9])", (ROOT / lock).read_text(), flags=re.MULTILINE)[1:]
    assert len(entries) > 10
    for entry in entries:
        assert re.match(r"[a-z0-9.-]+==[^ ]+ ", entry), entry
        assert "--hash=sha256:" in entry, entry
    assert "://" not in (ROOT / lock).read_text()
    assert "index-url" not in (ROOT / lock).read_text()


def test_the_locks_hold_what_the_project_asks_for_and_agree() -> None:
    """Each dependency is in its lock, building included, and tests run with the versions that production has."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    run, dev = (pins(lock) for lock in LOCKS)

    def names(requirements: list[str]) -> set[str]:
        return {re.split(r"[><=~! \[]", requirement)[0] for requirement in requirements}

    assert names(project["project"]["dependencies"] + project["build-system"]["requires"]) <= set(run)
    assert names(project["dependency-groups"]["dev"]) <= set(dev)
    assert run.items() <= dev.items()
