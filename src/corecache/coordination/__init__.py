"""Who decides who holds what: the implementations of `ports.Coordinator`."""
