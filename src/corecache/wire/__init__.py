"""How bytes mean things between nodes: frames, messages, calls. Pure."""
