"""How fast CoreCache is and how much memory it takes: programs that measure and never judge.

`docs/benchmarks.md` says what each part measures and how to read it; `scripts/bench.sh` runs them.
"""
