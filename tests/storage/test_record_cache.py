"""The records that were read last (`storage/record_cache.py`): what is kept, what goes, and how much it is."""

from corecache.operations import Record
from corecache.storage import record_cache
from corecache.storage.record_cache import RecordCache
from storage.store_lab import ZERO, entry, record

ENTRY_BYTES = len(b"\0\0key00") + 8 + record_cache._OVERHEAD_BYTES
"""What each entry of these tests is counted as."""


def raw(number: int) -> bytes:
    """Returns a key as it is on the disk, of partition 0."""
    return b"\0\0key%02d" % number


def value(number: int) -> Record:
    """Returns a record with a value of 8 bytes."""
    return record(b"value%03d" % number, number)


def filled(entries: int, generation: int) -> RecordCache:
    """Returns a cache whose generations take so many entries, with some put into it."""
    cache = RecordCache(2 * generation * ENTRY_BYTES)
    for number in range(entries):
        cache.put(raw(number), value(number))
    return cache


def there(cache: RecordCache, entries: int) -> list[int]:
    """Returns the numbers of the entries that are kept."""
    return [number for number in range(entries) if cache.get(raw(number)) is not None]


def test_the_newest_generations_are_kept() -> None:
    """At most two of them, however many records come."""
    assert there(filled(100, 400), 100) == [*range(100)]
    cache = filled(5000, 100)
    kept = len(cache._young) + len(cache._old)
    assert 100 <= kept <= 202
    assert cache.get(raw(4999)) == value(4999)
    assert cache.get(raw(0)) is None


def test_what_is_read_again_outlives_what_is_not() -> None:
    """A record that is asked for now and then is there after any number of others."""
    cache = filled(1, 100)
    for number in range(1, 2000):
        cache.put(raw(number), value(number))
        if number % 50 == 0:
            assert cache.get(raw(0)) == value(0)


def test_what_has_changed_is_forgotten_in_both_generations() -> None:
    """And takes no room any more: the same key, forgotten and read ten thousand times, pushes out nobody."""
    cache = filled(150, 100)
    assert raw(3) in cache._old
    assert raw(149) in cache._young
    cache.forget([(ZERO, entry(1, {b"key03": None, b"key149": None}))])
    assert (cache.get(raw(3)), cache.get(raw(149))) == (None, None)
    for _ in range(10_000):
        cache.put(raw(149), value(149))
        cache.forget([(ZERO, entry(1, {b"key149": record(b"new", 200)}))])
    assert cache.get(raw(5)) == value(5)
    cache.clear()
    assert there(cache, 150) == []


def test_a_large_record_is_not_kept() -> None:
    """It would push out many others."""
    cache = filled(3, 100)
    cache.put(raw(9), record(bytes(2 * ENTRY_BYTES), 9))
    assert cache.get(raw(9)) is None
    assert there(cache, 3) == [0, 1, 2]


def test_all_of_several_are_found_or_none_is_told() -> None:
    """Those of the old generation are left to `get`, which makes them young again."""
    cache = filled(150, 100)
    young = [raw(number) for number in (149, 120, 149)]
    assert cache.get_all(young) == [value(149), value(120), value(149)]
    assert cache.get_all([*young, raw(3)]) is None
    assert cache.get_all([*young, raw(999)]) is None
    assert cache.get(raw(3)) == value(3)
    assert cache.get_all([raw(3), raw(149)]) == [value(3), value(149)]
    cache.forget([(ZERO, entry(1, {b"key149": None}))])
    assert cache.get_all(young) is None
