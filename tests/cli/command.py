"""Runs the command line as a user does: a process of its own, whose output, errors and exit code are all there is."""

import os
import subprocess
import sys
from collections.abc import Mapping
from typing import NamedTuple

RUN_SECONDS = 60.0
PROGRAM = [sys.executable, "-c", "from corecache.cli import main; main()"]


class Ended(NamedTuple):
    """How a command ended: exit code, standard output, standard error."""

    code: int
    out: bytes
    err: str


class Command:
    """The command line, aimed at a node by `CORECACHE_ENDPOINTS`."""

    def __init__(self, endpoints: str) -> None:
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("CORECACHE_")}
        self.environment["CORECACHE_ENDPOINTS"] = endpoints
        self.environment["PYTHONPATH"] = os.pathsep.join(os.path.abspath(path) for path in sys.path if path)

    def __call__(
        self, *arguments: str | bytes, given: bytes = b"", environment: Mapping[str, str] | None = None
    ) -> Ended:
        """Runs a command with `given` on standard input; one that shows a traceback fails the test."""
        ended = subprocess.run(
            [*PROGRAM, *arguments],
            input=given,
            capture_output=True,
            timeout=RUN_SECONDS,
            env=self.environment | dict(environment or {}),
            check=False,
        )
        err = ended.stderr.decode()
        assert "Traceback" not in err, err
        return Ended(ended.returncode, ended.stdout, err)

    def process(self, *arguments: str, stdin: int, stdout: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
        """Starts a command and returns at once."""
        return subprocess.Popen(
            [*PROGRAM, *arguments], stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, env=self.environment
        )
