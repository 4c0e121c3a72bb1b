"""What operators look at says what the node says."""

from corecache import __version__
from serving.http_lab import Lab, served


@served()
async def test_the_reports_are_shown_as_they_are(lab: Lab) -> None:
    """Cluster, nodes, partitions and storage are JSON of the node's reports."""
    await lab.ask("PUT", "/v1/kv/a", b"123")
    cluster = (await lab.ask("GET", "/v1/cluster")).json()
    assert (cluster["name"], cluster["node"]) == ("test", "memory")
    assert (await lab.ask("GET", "/v1/cluster/nodes")).json() == cluster["nodes"]
    assert (await lab.ask("GET", "/v1/cluster/partitions")).json() == cluster["partitions"]
    assert cluster["partitions"][0]["view"]["primary"]["node"] == "memory"
    for method, path in (("GET", ""), ("POST", "/flush"), ("POST", "/compact")):
        answer = await lab.ask(method, "/v1/storage" + path)
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        assert (answer.json()["memtable_entries"], answer.json()["memtable_bytes"]) == (1, 4)


@served()
async def test_liveness_and_readiness_are_two_things(lab: Lab) -> None:
    """A node that is not ready says why, and is alive."""
    assert (await lab.ask("GET", "/readyz")).json() == {"status": "ready"}
    lab.service.not_ready = "partition 7 has no primary"
    answer = await lab.ask("GET", "/readyz")
    assert (answer.status, answer.json()["code"], answer.headers["retry-after"]) == (503, "not_ready", "1")
    assert "partition 7 has no primary" in answer.json()["detail"]
    assert (await lab.ask("GET", "/healthz")).status == 200


@served()
async def test_requests_are_counted(lab: Lab) -> None:
    """Counts by method, route and status, and durations by route, never by key."""
    for _ in range(3):
        await lab.ask("PUT", "/v1/kv/secret", b"1")
    await lab.ask("GET", "/v1/kv/other")
    await lab.ask("GET", "/nowhere")
    await lab.ask("GET", "/healthz")
    wire = await lab.connect()
    await wire.send(b"nonsense\r\n\r\n")
    assert (await wire.answer()).status == 400
    answer = await lab.ask("GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    lines = answer.body.decode().splitlines()
    key = "/v1/kv/{key}"
    for line in (
        f'corecache_http_requests_total{{method="PUT",route="{key}",status="204"}} 3.0',
        f'corecache_http_requests_total{{method="GET",route="{key}",status="404"}} 1.0',
        'corecache_http_requests_total{method="GET",route="none",status="404"} 1.0',
        'corecache_http_requests_total{method="GET",route="/healthz",status="200"} 1.0',
        'corecache_http_requests_total{method="none",route="none",status="400"} 1.0',
        f'corecache_http_request_duration_seconds_count{{route="{key}"}} 4.0',
        f'corecache_http_request_duration_seconds_bucket{{le="+Inf",route="{key}"}} 4.0',
        "corecache_http_buffered_bytes 0.0",
    ):
        assert line in lines, line
    assert not any("secret" in line for line in lines)


@served()
async def test_the_interface_describes_itself(lab: Lab) -> None:
    """/openapi.json is OpenAPI 3.1 of this version, and names every path."""
    description = (await lab.ask("GET", "/openapi.json")).json()
    assert (description["openapi"], description["info"]["version"]) == ("3.1.0", __version__)
    for path, methods in description["paths"].items():
        allowed = (await lab.ask("PATCH", path.replace("{key}", "a"))).headers["allow"].lower().split(", ")
        assert set(allowed) - {"head"} == set(methods) - {"head", "parameters"}, path
