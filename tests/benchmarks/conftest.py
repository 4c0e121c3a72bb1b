"""Makes `benchmarks`, which is not installed, importable however pytest was started, with the scripts that it uses."""

import sys
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_CHECKOUT), str(_CHECKOUT / "scripts")]
