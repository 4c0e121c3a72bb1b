"""Each kind of bad input gets its documented answer, stores nothing, and disturbs no other client."""

import asyncio

from serving.http_lab import Lab, request, served

KEY_MAX = 8192


async def refused(lab: Lab, octets: bytes, status: int, code: str) -> None:
    """Checks that bytes get one problem, store nothing, and that others are served."""
    wire = await lab.connect()
    await wire.send(octets)
    answer = await wire.answer()
    assert (answer.status, answer.json()["code"]) == (status, code), octets[:200]
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == f"urn:corecache:error:{code}"
    assert answer.json()["detail"].endswith(".")
    wire.close()
    assert not lab.service.records
    assert (await lab.ask("GET", "/healthz")).status == 200


@served()
async def test_keys_that_are_none(lab: Lab) -> None:
    """Empty, oversized and badly encoded keys are 400."""
    for method in ("GET", "PUT", "DELETE"):
        await refused(lab, request(method, "/v1/kv/", b"x"), 400, "bad_key")
        await refused(lab, request(method, "/v1/kv/" + "x" * (KEY_MAX + 1), b"x"), 400, "bad_key")
        await refused(lab, request(method, "/v1/kv/" + "%41" * (KEY_MAX + 1), b"x"), 400, "bad_key")
        await refused(lab, request(method, "/v1/kv/a%2", b"x"), 400, "bad_encoding")
        await refused(lab, request(method, "/v1/kv/a%zz", b"x"), 400, "bad_encoding")
    await refused(lab, request("PUT", b"/v1/kv/a\xff", b"x"), 400, "bad_request")
    await refused(lab, request("PUT", b"/v1/kv/a\x01", b"x"), 400, "bad_request")
    await refused(lab, request("PUT", "/v1/kv/a b", b"x"), 400, "bad_request")


@served()
async def test_parameters_that_are_none(lab: Lab) -> None:
    """Unknown, repeated and bad parameters are 400, on every path."""
    await refused(lab, request("PUT", "/v1/kv/a?tll=5", b"x"), 400, "bad_parameter")
    await refused(lab, request("PUT", "/v1/kv/a?ttl=5&ttl=6", b"x"), 400, "bad_parameter")
    await refused(lab, request("PUT", "/v1/kv/a?ttl", b"x"), 400, "bad_parameter")
    await refused(lab, request("GET", "/v1/kv/a?ttl=5"), 400, "bad_parameter")
    await refused(lab, request("DELETE", "/v1/kv/a?ttl=5"), 400, "bad_parameter")
    for ttl in ("0", "-1", "inf", "nan", "1e3", "%201", "", "a", "315360001"):
        await refused(lab, request("PUT", f"/v1/kv/a?ttl={ttl}", b"x"), 400, "bad_ttl")
    for path in ("/v1/cluster", "/v1/cluster/nodes", "/v1/cluster/partitions", "/v1/storage", "/healthz", "/readyz"):
        await refused(lab, request("GET", path + "?a=1"), 400, "bad_parameter")
    for path in ("/metrics", "/openapi.json", "/v1/kv"):
        await refused(lab, request("GET", path + "?a=1"), 400, "bad_parameter")
    for path in ("/v1/storage/flush", "/v1/storage/compact", "/v1/batch"):
        await refused(lab, request("POST", path + "?a=1", b"{}"), 400, "bad_parameter")


@served()
async def test_conditions_that_are_none(lab: Lab) -> None:
    """Bad conditions and repeated headers are 400."""
    for headers in (
        {"If-Match": "7"},
        {"If-Match": 'W/"7"'},
        {"If-Match": '"x"'},
        {"If-None-Match": '"7"'},
        {"If-Match": "*", "If-None-Match": "*"},
    ):
        await refused(lab, request("PUT", "/v1/kv/a", b"x", headers), 400, "bad_condition")
    await refused(lab, request("DELETE", "/v1/kv/a", None, {"If-None-Match": "*"}), 400, "bad_condition")
    await refused(lab, request("PUT", "/v1/kv/a", b"x", {"If-Match": "*", "if-match": "*"}), 400, "bad_request")
    await refused(lab, request("PUT", "/v1/kv/a", b"x", {"Content-Range": "bytes 0-0/3"}), 400, "bad_request")


@served()
async def test_timeouts_that_are_none(lab: Lab) -> None:
    """X-CoreCache-Timeout is whole milliseconds from 1 to the limit."""
    for text in ("0", "-1", "1.5", "x", "60001", ""):
        headers = {"X-CoreCache-Timeout": text}
        await refused(lab, request("PUT", "/v1/kv/a", b"x", headers), 400, "bad_timeout")
        await refused(lab, request("GET", "/v1/kv/a", None, headers), 400, "bad_timeout")
        await refused(lab, request("GET", "/v1/kv", None, headers), 400, "bad_timeout")
        await refused(lab, request("POST", "/v1/batch", b'{"operations":[]}', headers), 400, "bad_timeout")


@served()
async def test_paths_and_methods_that_are_none(lab: Lab) -> None:
    """Unknown paths are 404; methods that a path does not have are 405 with Allow."""
    for path in ("/", "/v1", "/v1/kv2", "/v1%2Fkv/a", "/v1/kv%2Fa", "/V1/kv/a", "//v1/kv/a", "/healthz/", "*"):
        await refused(lab, request("OPTIONS" if path == "*" else "GET", path), 404, "path_unknown")
    assert (await lab.ask("PUT", "/v1/kv2/a", b"x")).json()["outcome"] == "not_done"
    cases = [
        ("POST", "/v1/kv/a", "GET, HEAD, PUT, DELETE"),
        ("PATCH", "/v1/kv/a", "GET, HEAD, PUT, DELETE"),
        ("PUT", "/v1/kv", "GET, HEAD"),
        ("GET", "/v1/batch", "POST"),
        ("GET", "/v1/storage/flush", "POST"),
        ("POST", "/healthz", "GET, HEAD"),
    ]
    for method, path, allowed in cases:
        answer = await lab.ask(method, path, b"x")
        assert (answer.status, answer.json()["code"]) == (405, "method_not_allowed")
        assert answer.json()["outcome"] == "not_done"
        assert answer.headers["allow"] == allowed


@served()
async def test_bytes_that_are_no_http(lab: Lab) -> None:
    """What the parser refuses is 400 and the connection is closed."""
    for octets in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"FOO /v1/kv/a HTTP/1.1\r\n\r\n",
        b"GET /v1/kv/a HTTP/3.0\r\n\r\n",
        b"GET /v1/kv/a HTTP/2.0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /v1/kv/a\r\n\r\n",
        b"GET /v1/kv/a HTTP/1.1\nHost: x\n\n",
        b"PUT /v1/kv/a HTTP/1.1\r\nHost : x\r\n\r\n",
        b"PUT /v1/kv/a HTTP/1.1\r\nContent-Length: +3\r\n\r\nabc",
        b"PUT /v1/kv/a HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"PUT /v1/kv/a HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"PUT /v1/kv/a HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"PUT /v1/kv/a HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\nabc",
        b"PUT /v1/kv/a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
        b"PUT /v1/kv/a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
    ):
        await refused(lab, octets, 400, "bad_request")
        wire = await lab.connect()
        await wire.send(octets)
        assert (await wire.answer()).headers["connection"] == "close"
        assert await wire.is_closed()


@served(limits={"value_bytes_max": 100_000})
async def test_a_value_over_the_limit_is_refused_before_it_is_read(lab: Lab) -> None:
    """413 follows the headers at once; a client that waits for 100 gets 413 instead."""
    wire = await lab.connect()
    await wire.send(request("PUT", "/v1/kv/a", None, {"Content-Length": "100001"}))
    answer = await wire.answer()
    assert (answer.status, answer.json()["code"], answer.headers["connection"]) == (413, "value_too_large", "close")
    assert await wire.is_closed()
    patient = await lab.connect()
    await patient.send(request("PUT", "/v1/kv/a", None, {"Content-Length": "100001", "Expect": "100-continue"}))
    assert (await patient.answer()).status == 413
    assert await patient.is_closed()


@served(limits={"value_bytes_max": 100_000})
async def test_a_chunked_value_over_the_limit_is_refused_while_it_is_read(lab: Lab) -> None:
    """413 comes as soon as the limit is passed; a client that sends all before it reads gets it too."""
    wire = await lab.connect()
    await wire.send(b"PUT /v1/kv/a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(11):
        await wire.send(b"2710\r\n" + b"x" * 10_000 + b"\r\n")
    assert (await wire.answer()).json()["code"] == "value_too_large"
    sender = await lab.connect()
    await sender.send(request("PUT", "/v1/kv/a", b"x" * 3_000_000))
    assert (await sender.answer()).status == 413
    assert not lab.service.records


@served()
async def test_a_body_cut_short_stores_nothing(lab: Lab) -> None:
    """A client that ends in the middle of headers or body is told so; one that vanishes leaves nothing behind."""
    whole = request("PUT", "/v1/kv/a", b"x" * 100)
    chunked = b"PUT /v1/kv/a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
    for octets in (whole[:20], whole[:-1], whole[:-99], chunked, chunked[:-3]):
        wire = await lab.connect()
        await wire.send(octets)
        wire.writer.write_eof()
        answer = await wire.answer()
        assert (answer.status, answer.json()["code"]) == (400, "body_cut_short")
        assert await wire.is_closed()
        other = await lab.connect()
        await other.send(octets)
        other.writer.transport.abort()
    assert (await lab.ask("GET", "/v1/kv/a")).status == 404


@served()
async def test_a_client_that_says_its_last_is_still_answered(lab: Lab) -> None:
    """Half-closing after a whole request does not lose the answer."""
    wire = await lab.connect()
    await wire.send(request("PUT", "/v1/kv/a", b"1") + request("GET", "/v1/kv/a"))
    wire.writer.write_eof()
    assert (await wire.answer()).status == 204
    assert (await wire.answer()).body == b"1"
    assert await wire.is_closed()


@served(http={"header_bytes_max": 32 * 1024})
async def test_headers_over_the_limit_are_431(lab: Lab) -> None:
    """Whole or endless, in the request line, in headers, in trailers or chunk extensions; the longest key fits."""
    await refused(lab, request("GET", "/v1/kv/a", None, {"X": "y" * 33_000}), 431, "headers_too_large")
    await refused(lab, request("GET", "/v1/kv/" + "a" * 40_000), 431, "headers_too_large")
    await refused(lab, request("GET", "/x", None, {f"X{n}": "y" * 100 for n in range(400)}), 431, "headers_too_large")
    endless = b"GET /v1/kv/a HTTP/1.1\r\nX: "
    await refused(lab, endless + b"y" * 40_000, 431, "headers_too_large")
    chunked = b"PUT /v1/kv/a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    await refused(lab, chunked + b"3;x=" + b"y" * 60_000, 431, "headers_too_large")
    await refused(lab, chunked + b"0\r\nX: " + b"y" * 60_000, 431, "headers_too_large")
    longest = "/v1/kv/" + "%00" * KEY_MAX
    assert (await lab.ask("PUT", longest, b"1")).status == 204


@served(http={"header_timeout_ms": 100, "body_timeout_ms": 100, "idle_timeout_ms": 100, "send_timeout_ms": 30_000})
async def test_slow_clients_are_408(lab: Lab) -> None:
    """Headers that do not end, bodies that fall silent: 408 and closed, nothing stored; idle connections just close."""
    headers = await lab.connect()
    body = await lab.connect()
    chunks = await lab.connect()
    idle = await lab.connect()
    await headers.send(b"GET /v1/kv/a HTTP/1.1\r\nHo")
    await body.send(request("PUT", "/v1/kv/a", b"xyz")[:-1])
    await chunks.send(b"PUT /v1/kv/a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    for wire in (headers, body, chunks):
        answer = await wire.answer()
        assert (answer.status, answer.json()["code"]) == (408, "request_too_slow")
        assert await wire.is_closed()
    assert await idle.is_closed()
    assert not lab.service.records


@served(http={"header_timeout_ms": 100, "body_timeout_ms": 100, "idle_timeout_ms": 100})
async def test_a_request_that_the_node_takes_long_for_is_not_slow(lab: Lab) -> None:
    """Timeouts of clients do not run while the node works."""
    lab.service.gate = asyncio.Event()
    wire = await lab.connect()
    await wire.send(request("PUT", "/v1/kv/a", b"xyz"))
    await lab.until(lambda: lab.service.begun == 1)
    witness = await lab.connect()
    assert await witness.is_closed()
    assert await (await lab.connect()).is_closed()
    lab.service.gate.set()
    assert (await wire.answer()).status == 204


@served(http={"send_timeout_ms": 100})
async def test_a_client_that_reads_nothing_is_cut_off(lab: Lab) -> None:
    """An answer that is not taken ends with the connection, and its bytes are given back."""
    await lab.ask("PUT", "/v1/kv/a", b"x" * 8_000_000)
    wire = await lab.connect()
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await wire.send(request("GET", "/v1/kv/a") * 10)
    state = lab.server.state
    await lab.until(lambda: len(state.open) == 1)
    await lab.until(lambda: not state.open)
    assert "corecache_http_buffered_bytes 0.0" in (await lab.ask("GET", "/metrics")).body.decode()


@served(http={"connections_max": 3})
async def test_one_connection_too_many_is_503(lab: Lab) -> None:
    """It is told so and closed; the others go on; when one leaves there is room again."""
    wires = [await lab.connect() for _ in range(3)]
    for wire in wires:
        assert (await wire.ask("GET", "/healthz")).status == 200
    extra = await lab.connect()
    await extra.send(request("PUT", "/v1/kv/a", b"1"))
    answer = await extra.answer()
    assert (answer.status, answer.json()["code"], answer.headers["retry-after"]) == (503, "too_many_connections", "1")
    assert await extra.is_closed()
    assert (await wires[0].ask("PUT", "/v1/kv/b", b"1")).status == 204
    wires[0].close()
    await lab.until(lambda: len(lab.server.state.open) == 2)
    assert (await lab.ask("GET", "/healthz")).status == 200
    assert b"a" not in lab.service.records


@served(http={"buffered_bytes_max": 1_000_000})
async def test_large_bodies_and_answers_share_a_budget(lab: Lab) -> None:
    """What does not fit is 503 and not done; small requests always fit; what is done gives its part back."""
    big = b"x" * 600_000
    lab.service.gate = asyncio.Event()
    first = await lab.connect()
    await first.send(request("PUT", "/v1/kv/a", big))
    await lab.until(lambda: lab.service.begun == 1)
    refusal = await lab.ask("PUT", "/v1/kv/b", big)
    assert (refusal.status, refusal.json()["code"]) == (503, "too_much_buffered")
    assert (refusal.json()["outcome"], refusal.headers["retry-after"]) == ("not_done", "1")
    chunked = await lab.connect()
    await chunked.send(
        b"PUT /v1/kv/c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"%x\r\n%b\r\n0\r\n\r\n" % (len(big), big)
    )
    assert (await chunked.answer()).json()["code"] == "too_much_buffered"
    lab.service.gate.set()
    assert (await first.answer()).status == 204
    assert (await lab.ask("PUT", "/v1/kv/b", big)).status == 204
    assert set(lab.service.records) == {b"a", b"b"}
    assert (await lab.ask("GET", "/v1/kv/a")).body == big
    assert "corecache_http_buffered_bytes 0.0" in (await lab.ask("GET", "/metrics")).body.decode()
