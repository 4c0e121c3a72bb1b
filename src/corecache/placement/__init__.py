"""Who holds what: slots, partitions and views. Pure: it decides, and does nothing."""
