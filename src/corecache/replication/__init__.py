"""How the holders of a partition agree: the replication machine. Pure: an event and the time in, actions out."""
