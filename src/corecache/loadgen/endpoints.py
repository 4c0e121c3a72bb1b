"""Where a load goes: endpoints as users write them, as hosts and ports of one protocol.

The rule: for HTTP an endpoint is what it is everywhere, `http://HOST:PORT` or https. For Redis's protocol it is
`redis://HOST:PORT` or `HOST:PORT`, any server that speaks it; or a node's HTTP address, and then the node is asked
where it listens for Redis's protocol (`/v1/cluster` knows). Each endpoint is asked something before the load begins:
those that can't be reached are left out and named, and if none is left there is no load.
"""

import asyncio
from collections.abc import Sequence
from urllib.parse import urlsplit

from corecache.client import AsyncClient
from corecache.client.endpoints import parse_endpoints
from corecache.errors import CallerFault, NotDone
from corecache.loadgen.targets import Protocol, Target

PATIENCE_S = 5.0
ROUNDS_MAX = 3


async def found(endpoints: Sequence[str], protocol: Protocol) -> tuple[list[Target], list[str]]:
    """Returns the servers that answer, and for each other endpoint why it is left out.

    Raises: CallerFault for what is no endpoint, NotDone if none answers.
    """
    targets: list[Target] = []
    silent: list[NotDone] = []
    for endpoint in endpoints:
        try:
            targets.append(await (_http(endpoint) if protocol == "http" else _resp(endpoint)))
        except NotDone as error:
            silent.append(error)
    if not targets:
        raise silent[0]
    return targets, [error.message for error in silent]


async def _http(endpoint: str) -> Target:
    async with AsyncClient(endpoint, timeout_s=PATIENCE_S, rounds_max=ROUNDS_MAX) as client:
        await client.cluster()
    return _parsed(parse_endpoints(endpoint)[0])


async def _resp(endpoint: str) -> Target:
    scheme, separator, _ = endpoint.strip().partition("://")
    if separator and scheme in ("http", "https"):
        target = await _told_by(endpoint)
    elif separator and scheme != "redis":
        raise _no_endpoint(endpoint)
    else:
        target = _parsed(endpoint.strip() if separator else f"redis://{endpoint.strip()}")
    try:
        async with asyncio.timeout(PATIENCE_S):
            _, writer = await asyncio.open_connection(target.host, target.port)
    except (OSError, TimeoutError) as error:
        said = str(error) or "out of time"
        raise NotDone(
            "unreachable", f"no connection to {target}: {said}; check that it runs and the endpoint"
        ) from error
    writer.close()
    return target


async def _told_by(endpoint: str) -> Target:
    async with AsyncClient(endpoint, timeout_s=PATIENCE_S, rounds_max=ROUNDS_MAX) as client:
        report = await client.cluster()
    address = next((node.addresses.get("resp") for node in report.nodes if node.id == report.node), None)
    if not address:
        raise CallerFault("no_resp", f"{endpoint}: the node does not speak Redis's protocol; set resp.port")
    return _parsed(f"redis://{address}")


def _parsed(url: str) -> Target:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise _no_endpoint(url) from error
    default = {"http": 80, "https": 443, "redis": 6379}.get(parts.scheme)
    plain = parts.path in ("", "/") and not parts.query and not parts.fragment and parts.username is None
    if default is None or not host or not plain or port == 0:
        raise _no_endpoint(url)
    return Target(host, port or default, parts.scheme == "https")


def _no_endpoint(endpoint: str) -> CallerFault:
    return CallerFault(
        "bad_endpoint", f"{endpoint!r} is no endpoint of this protocol: write http://HOST:PORT or redis://HOST:PORT"
    )
