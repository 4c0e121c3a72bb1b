"""The pure half of a whole cluster, run from a seed in simulated time, with faults; see `cluster.py`."""
