"""A node's disk: what is kept, as which bytes, and how it survives a crash.

`rocksdb.py` is the store that a node runs on and `memory.py` its twin, which defines what is right; both pass
`tests/contracts/test_store.py`. `keyspace.py` says what every byte of a key and a record is, `directory.py` who may use
a data directory. `rocksdb_options.py` derives RocksDB's settings from ours, `rocksdb_report.py` reads the tree's
figures, `threads.py` and `space.py` hold the threads and the watch on the disk's budget.

Nothing here decides what is written: that is the business of `replication/`.
"""
