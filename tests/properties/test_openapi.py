"""The node does what `/openapi.json` says: Schemathesis makes requests of it, right and wrong, and judges the answers.

`schemathesis.toml` has what is checked and the seed; `schemathesis_hooks.py` what the document can't say.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from integration.node_harness import Node

HERE = Path(__file__).parent
OPERATIONS_MIN = 15


def test_the_node_answers_as_its_openapi_document_says(node: Node, tmp_path: Path) -> None:
    """Every check of Schemathesis holds for every operation: statuses, types, schemas, headers, what is refused."""
    order = [
        str(Path(sys.executable).with_name("schemathesis")),
        *("--config-file", str(HERE / "schemathesis.toml"), "--no-color"),
        *("run", f"http://127.0.0.1:{node.port}/openapi.json", "--checks", "all"),
    ]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": str(HERE)}
    run = subprocess.run(order, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    tested = re.search(r"Tested: (\d+)", run.stdout)
    assert tested is not None, run.stdout
    assert int(tested[1]) >= OPERATIONS_MIN, run.stdout
