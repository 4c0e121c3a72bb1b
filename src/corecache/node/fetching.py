"""Fetches the records that conditional writes are resolved against.

Two rules keep a batch of them from hurting anybody else. Keys are looked up a few at a time, a value that nobody asked
for is dropped at once, and those that were asked for have a limit together: the values of a thousand deletes, or of a
thousand reads in one atomic batch, may be more than the memory holds. And a record that the
disk can't give costs only the requests that need it: after a look-up that failed, its keys are tried one by one.
"""

from collections.abc import Sequence

from corecache.errors import Broken, CallerFault, CoreCacheError
from corecache.identity import PartitionId
from corecache.operations import Record
from corecache.ports import Store
from corecache.replication.actions import Fetch
from corecache.replication.events import Fetched

_KEYS_MAX = 8
"""Keys in one look-up: with values of 8 MiB each, what is held for a moment is 64 MiB."""


async def fetch(store: Store, partition: PartitionId, wanted: Fetch, values_bytes_max: int) -> Fetched:
    """Returns what the store holds of the wanted keys, and which of them can't be given. Raises nothing.

    The values are `values_bytes_max` together at the most; those beyond are refused as `answer_too_large`.
    """
    fetched = Fetched(wanted.epoch, {}, {})
    left_bytes = values_bytes_max
    for first in range(0, len(wanted.keys), _KEYS_MAX):
        keys = wanted.keys[first : first + _KEYS_MAX]
        records, unreadable = await _look_up(store, partition, keys)
        fetched.unreadable |= unreadable
        for key, record in records.items():
            if record is None or key not in wanted.with_values:
                fetched.records[key] = _without_value(record) if record is not None else None
            elif len(record.value) <= left_bytes:
                left_bytes -= len(record.value)
                fetched.records[key] = record
            else:
                fetched.unreadable[key] = _too_large(values_bytes_max)
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


def _too_large(bytes_max: int) -> CallerFault:
    return CallerFault(
        "answer_too_large",
        f"The values that the batch reads exceed {bytes_max:,} bytes together; nothing was written. Read fewer.",
    )


def _without_value(record: Record) -> Record:
    return Record(b"", record.version, record.timestamp, record.expires)
