"""Where the nodes are, and how a connection to them is made: addresses checked, httpx set up, time counted down.

Three decisions about httpx live here, for both clients:

* No proxy and no `.netrc` from the environment: what stands between may answer in a node's place or send a write twice.
* No content coding: a value is bytes, and arrives as it was stored.
* A request's time is one sum, not one allowance a phase. httpx asks `Countdown` at the start of each phase how long it
  may take, and is told what is left.
"""

import ssl
import time
from collections.abc import Sequence
from typing import Any

import httpx

from corecache import __version__
from corecache.client.attempts import Attempt
from corecache.client.requests import Request
from corecache.errors import CallerFault

DEFAULT_ENDPOINT = "http://127.0.0.1:8000"
CLIENT_TIMEOUT_S = 5.0
NODE_TIMEOUT_MS_MAX = 60_000
"""The longest deadline that a node accepts unless it is configured otherwise."""

WORK_TIMEOUT_S = 600.0
"""How long a flush or a compaction is awaited."""


def parse_endpoints(endpoints: str | Sequence[str]) -> tuple[str, ...]:
    """Returns addresses as `scheme://host:port`. Raises: CallerFault for one that is none."""
    given = [endpoints] if isinstance(endpoints, str) else list(endpoints)
    if not given:
        raise CallerFault("bad_endpoint", f"no endpoint: give at least one, such as {DEFAULT_ENDPOINT}")
    return tuple(_checked(each) for each in given)


def httpx_options(endpoints: Sequence[str], connections_max: int) -> dict[str, Any]:
    """Returns what both of httpx's clients are made with."""
    # Reading the certificates of all authorities takes longer than many a request: not for plain HTTP, which has none.
    secure = any(each.startswith("https:") for each in endpoints)
    return {
        "verify": ssl.create_default_context() if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        "limits": httpx.Limits(max_connections=connections_max, max_keepalive_connections=connections_max),
        "trust_env": False,
        "headers": {"User-Agent": f"corecache/{__version__}", "Accept-Encoding": "identity"},
    }


class Countdown:
    """The time left for an attempt, as httpx's `timeout` extension, which it asks by the name of the phase."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt

    def get(self, phase: str, default: float | None = None) -> float:
        """Returns the seconds that the phase may take: of "connect" until connected, of any other until the end."""
        end = self._attempt.connected_by if phase == "connect" else self._attempt.ended_by
        return max(0.001, end - time.monotonic())

    def check(self) -> None:
        """Raises: httpx.ReadTimeout if there is no time left."""
        if time.monotonic() > self._attempt.ended_by:
            raise httpx.ReadTimeout("the answer took too long")


def sending(endpoint: str, request: Request, attempt: Attempt) -> tuple[dict[str, Any], Countdown]:
    """Returns the arguments of httpx's `stream` for an attempt, and its countdown."""
    countdown = Countdown(attempt)
    headers = dict(request.headers)
    if request.timeout_s is None:
        # The node is to give up a little earlier than we do, so that its answer still arrives.
        left_ms = (attempt.ended_by - time.monotonic()) * 1000
        headers["X-CoreCache-Timeout"] = str(min(NODE_TIMEOUT_MS_MAX, max(1, int(left_ms * 0.9))))
    arguments = {
        "method": request.method,
        "url": endpoint + request.target,
        "content": request.body,
        "headers": headers,
        "extensions": {"timeout": countdown},
    }
    return arguments, countdown


def never_sent(error: httpx.TransportError) -> bool:
    """Says whether a failure came before the first byte of the request was sent."""
    return isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)


def reason(endpoint: str, error: httpx.TransportError) -> str:
    """Returns what went wrong, in words, with the endpoint where it did."""
    if isinstance(error, httpx.TimeoutException):
        return f"{endpoint}: out of time"
    return f"{endpoint}: {error or type(error).__name__}"


def _checked(endpoint: str) -> str:
    try:
        url = httpx.URL(endpoint.strip())
    except httpx.InvalidURL as error:
        raise CallerFault("bad_endpoint", f"{endpoint!r} is no endpoint ({error}): write http://HOST:PORT") from error
    plain = url.raw_path == b"/" and not url.userinfo and not url.fragment
    if url.scheme not in ("http", "https") or not url.host or not plain or not 1 <= (url.port or 80) <= 65_535:
        raise CallerFault("bad_endpoint", f"{endpoint!r} is no endpoint: write http://HOST:PORT")
    return str(url.copy_with(path="/")).rstrip("/")
