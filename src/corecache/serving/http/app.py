"""The ASGI application: a key's path goes straight to `keyvalue`, everything else to a route.

The rule: whatever happens, the answer is a documented one. Exceptions of `errors.py` become their problem; any other is
logged with its traceback and becomes `internal`. Paths are matched exactly as they are written, nothing is normalised
or redirected: a key may hold `//` and `..`.
"""

from collections.abc import Coroutine
from time import perf_counter_ns
from typing import Any

import structlog
from prometheus_client import CollectorRegistry
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Route, Router

from corecache.config import Config
from corecache.errors import CoreCacheError
from corecache.ports import Clock, Service
from corecache.serving.http import problems
from corecache.serving.http.batch import Batch
from corecache.serving.http.bodies import Budget, Disconnected, Message, Receive, Scope, Send, send_answer
from corecache.serving.http.keyvalue import ROUTE, KeyValue
from corecache.serving.http.listing import Listing
from corecache.serving.http.metrics import RequestMetrics
from corecache.serving.http.ordering import Ordering
from corecache.serving.http.plain_reads import PREFIX, PlainReads
from corecache.serving.http.views import Views

_log = structlog.get_logger()


class App:
    """The HTTP interface of a node, as one ASGI callable, and the reads that need no call."""

    def __init__(
        self,
        service: Service,
        config: Config,
        clock: Clock,
        registry: CollectorRegistry,
        budget: Budget,
        metrics: RequestMetrics,
    ) -> None:
        self._key_value = KeyValue(service, config, clock, budget, metrics)
        self.plain_reads = PlainReads(service, config, clock, metrics.route(ROUTE))
        self._metrics = metrics
        routes: list[BaseRoute] = [
            Route("/v1/kv", Listing(service, config, clock, budget).answer, methods=["GET"]),
            Route("/v1/batch", Batch(service, config, clock, budget).answer, methods=["POST"]),
            *Views(service, config, registry).routes(),
            *Ordering(service, budget).routes(),
        ]
        self._router = Router(routes, redirect_slashes=False, default=_nothing_here)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Coroutine[Any, Any, None]:
        """Answers one request."""
        if scope["raw_path"].startswith(PREFIX):
            return self._key_value(scope, receive, send)
        return self._answer_route(scope, receive, send)

    async def _answer_route(self, scope: Scope, receive: Receive, send: Send) -> None:
        started_ns = perf_counter_ns()
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        method: str = scope["method"]
        scope["app"] = self
        try:
            await self._router(scope, receive, noting)
        except Disconnected:
            return
        except Exception as error:  # every failure is a documented answer
            if status:
                raise
            extra = []
            if isinstance(error, HTTPException) and error.status_code == 405 and error.headers is not None:
                allowed = ", ".join(sorted(error.headers["Allow"].split(", ")))
                extra.append((b"allow", allowed.encode()))
                error = problems.method_not_allowed(method, allowed)
            elif not isinstance(error, CoreCacheError):
                _log.exception("request failed", method=method, path=scope["path"])
                error = problems.internal()
            status, headers, body = problems.answer_of(error, method == "POST")
            await send_answer(send, status, headers + extra, body)
        route = scope.get("route")
        counts = self._metrics.route(route.path if isinstance(route, Route) else "none")
        counts.observe(method, status, started_ns)


async def _nothing_here(scope: Scope, receive: Receive, send: Send) -> None:
    raise problems.path_unknown()
