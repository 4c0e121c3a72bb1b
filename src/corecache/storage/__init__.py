"""A node's disk: what is kept, as which bytes, and how it survives a crash.

`rocksdb.py` is the store that a node runs on and `memory.py` its twin, which defines what is right; both pass
`tests/contracts/test_store.py`. `keyspace.py` says what every byte of a key and a record is, `directory.py` who may use
a data directory, `space.py` how much of the disk.

Around `rocksdb.py`: `rocksdb_opening.py` (and recovery), `rocksdb_log.py` (what a crash left of the write-ahead log),
`rocksdb_writer.py` and `rocksdb_reader.py` (the one way in, the one way out), `rocksdb_apply.py` (what entries change),
`rocksdb_scan.py` (reading ranges), `rocksdb_expiry.py` (what is due), `rocksdb_snapshot.py` and `rocksdb_install.py`
(handing a replica over and taking one in), `rocksdb_options.py` (from our settings to RocksDB's), `rocksdb_report.py`
(the tree's figures). `checksum.py` says when replicas are equal; `threads.py` has the threads that wait for the disk.

Nothing here decides what is written: that is the business of `replication/`.
"""
