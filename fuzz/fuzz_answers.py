"""Fuzzes `client/answers.py`: what a node, or whatever listens in its place, answers to the client.

An input is an answer as text: the status, a line for each header (`name: value`), an empty line, the body. It is read
as the answer to every call of the API, and each of these must end as the client's promise says.
"""

from collections.abc import Callable

from corecache.client import answers, requests
from corecache.client.answers import Answer
from corecache.errors import CoreCacheError
from corecache.operations import Absent, ConditionFailed, Delete, Deleted, Found, Put, Read, Record, Written
from corecache.reports import ClusterReport, StorageReport

WORDS = (
    *(b"200\n", b"204\n", b"404\n", b"412\n", b"503\n", b"504\n", b"507\n", b"500\n", b"\n\n", b"\n", b"99999999"),
    *(b'etag: "1"', b"content-type: application/problem+json", b"content-type: application/json", b"retry-after: 1"),
    *(b"x-corecache-timestamp: 1", b"x-corecache-expires: 1", b'{"items":[', b'"cursor":null', b'"results":['),
    *(b'"status":', b'"detail":""', b'"code":"key_not_found"', b'"outcome":"not_done"', b'"version":', b'"timestamp":'),
    *(b'"key":"', b'"key_base64":"', b'"value":"', b'"value_base64":"', b'"expires":', b"1e999", b"1e308", b"true"),
    *(b"{", b"}", b"[", b"]", b",", b":", b'"', b"null", b"-1", b"\\ud800", b"\xc2\xb2", b"NaN", b"[" * 2000),
)

_ASKED = (Put(b"k", b"v"), Read(b"k"), Delete(b"k"))
_RESULTS = (Written, Found, Deleted, Absent, ConditionFailed, CoreCacheError)


def target(data: bytes) -> None:
    """Whatever a peer answers: the client reads it as what it declares, or raises an error of `errors.py`."""
    for request in (requests.get(b"k"), requests.put(b"k", b"v", None, if_absent=False, if_version=None)):
        answer = _answer(request, data)
        _check(answer, answers.record, Record, type(None))
        _check(answer, answers.written, int)
        _check(answer, answers.deleted, bool)
        _check(answer, answers.page, answers.Page)
        _check(answer, answers.cluster_report, ClusterReport)
        _check(answer, answers.storage_report, StorageReport)
        _check(answer, answers.fault, CoreCacheError)
        assert 0 <= answers.retry_after_ms(answer) < 10**10
        for count in range(len(_ASKED) + 1):
            _check_results(answer, count)


def _answer(request: requests.Request, data: bytes) -> Answer:
    head, _, body = data.partition(b"\n\n")
    first, *lines = head.split(b"\n")
    status = int(first) if len(first) == 3 and first.isdigit() else 200
    pairs = (line.decode("latin-1").partition(":") for line in lines)
    return Answer(request, "http://node", status, {name.lower(): value.strip() for name, _, value in pairs}, body)


def _check(answer: Answer, read: Callable[[Answer], object], *kinds: type) -> None:
    try:
        found = read(answer)
    except CoreCacheError:
        return
    assert isinstance(found, kinds), (read, found)
    if isinstance(found, answers.Page):
        assert found.cursor is None or isinstance(found.cursor, str), found
        assert all(isinstance(key, bytes) and isinstance(record, Record) for key, record in found.items), found


def _check_results(answer: Answer, count: int) -> None:
    try:
        found = answers.results(answer, _ASKED[:count])
    except CoreCacheError:
        return
    assert len(found) == count, found
    assert all(isinstance(result, _RESULTS) for result in found), found
