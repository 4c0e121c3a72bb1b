"""Fetches the records that conditional writes are resolved against.

Two rules keep a batch of them from hurting anybody else. Keys are looked up a few at a time, and a value that nobody
asked for is dropped at once: the values of a thousand deletes may be more than the memory holds. And a record that the
disk can't give costs only the requests that need it: after a look-up that failed, its keys are tried one by one.
"""

from collections.abc import Sequence

from corecache.errors import Broken, CoreCacheError
from corecache.identity import PartitionId
from corecache.operations import Record
from corecache.ports import Store
from corecache.replication.actions import Fetch
from corecache.replication.events import Fetched

_KEYS_MAX = 8
"""Keys in one look-up: with values of 8 MiB each, what is held for a moment is 64 MiB."""


async def fetch(store: Store, partition: PartitionId, wanted: Fetch) -> Fetched:
    """Returns what the store holds of the wanted keys, and which of them it can't give. Raises nothing."""
    fetched = Fetched({}, {})
    for first in range(0, len(wanted.keys), _KEYS_MAX):
        keys = wanted.keys[first : first + _KEYS_MAX]
        records, unreadable = await _look_up(store, partition, keys)
        fetched.unreadable |= unreadable
        for key, record in records.items():
            fetched.records[key] = record if record is None or key in wanted.with_values else _without_value(record)
    return fetched


async def _look_up(
    store: Store, partition: PartitionId, keys: Sequence[bytes]
) -> tuple[dict[bytes, Record | None], dict[bytes, CoreCacheError]]:
    try:
        return dict(zip(keys, await store.get([(partition, key) for key in keys]), strict=True)), {}
    except Broken as error:
        if len(keys) == 1:
            return {}, {keys[0]: error}
    records: dict[bytes, Record | None] = {}
    unreadable: dict[bytes, CoreCacheError] = {}
    for key in keys:
        found, failed = await _look_up(store, partition, (key,))
        records |= found
        unreadable |= failed
    return records, unreadable


def _without_value(record: Record) -> Record:
    return Record(b"", record.version, record.timestamp, record.expires)
