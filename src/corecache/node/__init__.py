"""A node at work: it feeds events to the pure replicas, carries out their actions, and serves what they allow."""
