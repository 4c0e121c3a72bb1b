"""The commands: what each takes, what it asks of the node, and how Redis would answer it."""
