"""The systems that CoreCache is measured beside (`benchmarks/peers.py`): how each is started and asked.

`catalog` is the list, with what each promises. `dialects` says what HTTP and Redis's protocol look like on the wire,
for systems that the closed loop asks by itself (`wire`). The others have a program of their own here: ZooKeeper its
client (`kazoo_load`, several processes, driven by `zookeeper`), PySyncObj, which is a library, a server around it
(`pysyncobj_server`).
"""
