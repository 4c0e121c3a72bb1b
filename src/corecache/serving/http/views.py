"""What operators look at: cluster, storage, health, readiness, metrics, and the description of the interface.

The rule: nothing is computed here. The node's reports (`reports.py`) are shown as they are; their fields are the JSON.

`/healthz` says that the process turns its loop, hence has no condition. `/readyz` says that every partition here can
be read and written; a load balancer that looks at it sends nobody to a node that would refuse.
"""

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from corecache.config import Config
from corecache.errors import CallerFault, NotDone
from corecache.identity import PartitionId
from corecache.ports import Service
from corecache.serving.http import parameters
from corecache.serving.http.openapi import Status, description

_encoder = msgspec.json.Encoder()
_PARTITION_MAX = 16_383


class Views:
    """Answers what has no parameter."""

    def __init__(self, service: Service, config: Config, registry: CollectorRegistry) -> None:
        self._service = service
        self._registry = registry
        self._description = _encoder.encode(description(config))

    def routes(self) -> list[BaseRoute]:
        """Returns the routes of all views."""
        return [
            Route("/v1/cluster", self._cluster, methods=["GET"]),
            Route("/v1/cluster/nodes", self._nodes, methods=["GET"]),
            Route("/v1/cluster/partitions", self._partitions, methods=["GET"]),
            Route("/v1/storage", self._storage, methods=["GET"]),
            Route("/v1/storage/digest", self._digest, methods=["GET"]),
            Route("/v1/storage/flush", self._flush, methods=["POST"]),
            Route("/v1/storage/compact", self._compact, methods=["POST"]),
            Route("/healthz", self._health, methods=["GET"]),
            Route("/readyz", self._readiness, methods=["GET"]),
            Route("/metrics", self._metrics, methods=["GET"]),
            Route("/openapi.json", self._openapi, methods=["GET"]),
        ]

    async def _cluster(self, request: Request) -> Response:
        return _shown(request, self._service.cluster())

    async def _nodes(self, request: Request) -> Response:
        return _shown(request, self._service.cluster().nodes)

    async def _partitions(self, request: Request) -> Response:
        return _shown(request, self._service.cluster().partitions)

    async def _storage(self, request: Request) -> Response:
        _refuse_parameters(request)
        return _shown(request, await self._service.storage())

    async def _digest(self, request: Request) -> Response:
        query = parameters.query_of(request.scope["query_string"], ("partition",))
        if "partition" not in query:
            raise CallerFault("bad_parameter", "Say which: /v1/storage/digest?partition=NUMBER.")
        raw = query["partition"]
        partition = PartitionId(0 if raw == b"0" else parameters.number_of(raw, "partition", _PARTITION_MAX))
        return Response(_encoder.encode(await self._service.digest(partition)), media_type="application/json")

    async def _flush(self, request: Request) -> Response:
        _refuse_parameters(request)
        return _shown(request, await self._service.flush())

    async def _compact(self, request: Request) -> Response:
        _refuse_parameters(request)
        return _shown(request, await self._service.compact())

    async def _health(self, request: Request) -> Response:
        return _shown(request, Status("alive"))

    async def _readiness(self, request: Request) -> Response:
        _refuse_parameters(request)
        reason = self._service.unready()
        if reason is not None:
            raise NotDone("not_ready", f"The node is not ready: {reason}")
        return _shown(request, Status("ready"))

    async def _metrics(self, request: Request) -> Response:
        _refuse_parameters(request)
        return Response(generate_latest(self._registry), headers={"content-type": CONTENT_TYPE_LATEST})

    async def _openapi(self, request: Request) -> Response:
        _refuse_parameters(request)
        return Response(self._description, media_type="application/json")


def _refuse_parameters(request: Request) -> None:
    parameters.query_of(request.scope["query_string"], ())


def _shown(request: Request, report: object) -> Response:
    _refuse_parameters(request)
    return Response(_encoder.encode(report), media_type="application/json")
