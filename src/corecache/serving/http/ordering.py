"""What operators order of the cluster: drains, rebalances, how many copies a success needs, a forced promotion.

A GET shows, a POST orders and answers how things stand then (`OrdersReport`). An order is a small JSON object, one kind
a path; each order that stands already may be given again. What may be ordered is not judged here.

Rule: an object that is not exactly what the path takes is refused with `bad_order`, and nothing of it is done: a
misspelt field that is silently dropped would turn one order into another.
"""

from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from corecache.errors import CallerFault
from corecache.identity import NodeId, PartitionId
from corecache.ports import Service
from corecache.reports import MoveReport
from corecache.serving.http import parameters
from corecache.serving.http.bodies import BodyReader, Budget

_BODY_BYTES_MAX = 4096

Name = Annotated[str, Meta(min_length=1, max_length=255)]


class DrainOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A node is to hold nothing; with `cancel` it may hold something again."""

    node: Name
    cancel: bool = False


class RebalanceOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Copies and primaries are to be evened out, or not any more."""

    run: bool


class MinInSyncOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """So many copies in sync are needed for a success; 0 leaves it to the cluster."""

    min_in_sync: Annotated[int, Meta(ge=0, le=7)]


class RecoverOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A partition is to go on from a node's copy, since its members in sync are lost."""

    partition: Annotated[int, Meta(ge=0, le=16_383)]
    node: Name
    accept_data_loss: bool = False


class Moves(msgspec.Struct, frozen=True):
    """What would be moved, in that order."""

    moves: tuple[MoveReport, ...]


Order = TypeVar("Order")

_encoder = msgspec.json.Encoder()
_drain_decoder = msgspec.json.Decoder(DrainOrder)
_rebalance_decoder = msgspec.json.Decoder(RebalanceOrder)
_recover_decoder = msgspec.json.Decoder(RecoverOrder)
_min_in_sync_decoder = msgspec.json.Decoder(MinInSyncOrder)


class Ordering:
    """Takes orders."""

    def __init__(self, service: Service, budget: Budget) -> None:
        self._service = service
        self._budget = budget

    def routes(self) -> list[BaseRoute]:
        """Returns the routes."""
        return [
            Route("/v1/cluster/orders", self._orders, methods=["GET"]),
            Route("/v1/cluster/rebalance", self._rebalance, methods=["GET", "POST"]),
            Route("/v1/cluster/drain", self._drain, methods=["POST"]),
            Route("/v1/cluster/min-in-sync", self._require_in_sync, methods=["POST"]),
            Route("/v1/cluster/recover", self._recover, methods=["POST"]),
        ]

    async def _orders(self, request: Request) -> Response:
        parameters.query_of(request.scope["query_string"], ())
        return _shown(await self._service.orders())

    async def _rebalance(self, request: Request) -> Response:
        if request.method == "POST":
            order = await self._read(request, _rebalance_decoder)
            return _shown(await self._service.rebalance(order.run))
        query = parameters.query_of(request.scope["query_string"], ("drain",))
        node = _node_of(query["drain"]) if "drain" in query else None
        return _shown(Moves(await self._service.moves(node)))

    async def _drain(self, request: Request) -> Response:
        order = await self._read(request, _drain_decoder)
        return _shown(await self._service.drain(NodeId(order.node), order.cancel))

    async def _require_in_sync(self, request: Request) -> Response:
        order = await self._read(request, _min_in_sync_decoder)
        return _shown(await self._service.require_in_sync(order.min_in_sync))

    async def _recover(self, request: Request) -> Response:
        order = await self._read(request, _recover_decoder)
        partition, node = PartitionId(order.partition), NodeId(order.node)
        return _shown(await self._service.recover(partition, node, order.accept_data_loss))

    async def _read(self, request: Request, decoder: msgspec.json.Decoder[Order]) -> Order:
        """Returns the order that a request brings. Raises: CallerFault `bad_order`, what `BodyReader.read` raises."""
        parameters.query_of(request.scope["query_string"], ())
        length = request.headers.get("content-length")
        chunked = "transfer-encoding" in request.headers
        reader = BodyReader(self._budget, _BODY_BYTES_MAX, _too_long)
        try:
            body = await reader.read(request.receive, None if chunked else int(length or 0))
        finally:
            reader.release()
        try:
            return decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise CallerFault("bad_order", f"The body is not the order that this path takes: {error}.") from error


def _node_of(raw: bytes) -> NodeId:
    try:
        return NodeId(raw.decode())
    except UnicodeDecodeError:
        raise CallerFault("bad_parameter", "drain is the id of a node, and that is UTF-8.") from None


def _too_long(limit_bytes: int) -> CallerFault:
    return CallerFault("bad_order", f"The body is longer than {limit_bytes:,} bytes: no order is.")


def _shown(report: object) -> Response:
    return Response(_encoder.encode(report), media_type="application/json")
