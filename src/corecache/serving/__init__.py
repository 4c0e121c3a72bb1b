"""The servers: bytes in, operations out; results in, bytes out. Nothing is decided here.

Each protocol has a folder of its own (`http/`). All of them reach the node through `ports.Service` alone, so that this
part can be tested against a service in memory, and a node without a server.
"""
