"""The description of the HTTP interface: OpenAPI 3.1, as /openapi.json shows it.

The rule: it says no more and no less than the code does. Schemas of bodies are made from the structs that encode and
decode them; limits come from the configuration that the node runs with; the rest is stated here once, path by path, and
the tests let schemathesis compare it with a server.

Keys and values that are no text can't be said in a description whose parameters are strings: they are percent-encoded
bytes, which `docs/http.md` tells.
"""

from typing import Any, TypeAlias

import msgspec

from corecache import __version__
from corecache.config import Config
from corecache.reports import (
    ClusterReport,
    DigestReport,
    NodeReport,
    OrdersReport,
    PartitionReport,
    RecoveryReport,
    StorageReport,
)
from corecache.serving.http.batch_operations import BatchAnswer, BatchRequest
from corecache.serving.http.listing import LIMIT_MAX, ListedPage
from corecache.serving.http.ordering import DrainOrder, MinInSyncOrder, Moves, RebalanceOrder, RecoverOrder
from corecache.serving.http.problems import Problem

Json: TypeAlias = dict[str, Any]

_REF = "#/components/schemas/{name}"
_PROBLEMS = {
    400: "The request is wrong: a bad key, parameter, header or body. Repeating it changes nothing.",
    404: "There is no such record.",
    408: "The request came too slowly.",
    412: "The condition does not hold; nothing was written. ETag has the present version, if there is one.",
    413: "The body is too large.",
    421: "Another node must be asked; the detail says which.",
    431: "The request line and the headers are too large.",
    500: "The node is broken, or failed in a way it does not know. A write may have happened.",
    503: "Not done; try again after Retry-After seconds.",
    504: "The deadline passed; a write may have happened.",
    507: "The disk budget is reached: puts are refused until there is room.",
}
_ALWAYS = (400, 408, 431, 500, 503)
_TAG = r'"(?:0|[1-9][0-9]{0,18})"'
_HEADERS: Json = {
    "ETag": {"description": "The record's version, in double quotes.", "schema": {"type": "string"}},
    "X-CoreCache-Timestamp": {
        "description": "When the value was accepted, in ms since 1970.",
        "schema": {"type": "integer"},
    },
    "X-CoreCache-Expires": {"description": "When it expires, in ms since 1970.", "schema": {"type": "integer"}},
    "X-CoreCache-Sequence": {
        "description": "Up to which entry of the log a stale read reaches.",
        "schema": {"type": "integer", "minimum": 0},
    },
}


class Status(msgspec.Struct, frozen=True):
    """What /healthz and /readyz say when all is well."""

    status: str


def description(config: Config) -> Json:
    """Returns the OpenAPI document of a node with this configuration."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "CoreCache",
            "version": __version__,
            "description": "A key-value store. Keys and values are bytes.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": {
            "/v1/kv/{key}": _key(config),
            "/v1/kv": {"get": _list(config)},
            "/v1/batch": {"post": _batch(config)},
            "/v1/cluster": {"get": _view("cluster", "Who holds what.", "ClusterReport")},
            "/v1/cluster/nodes": {"get": _view("nodes", "The nodes.", "NodeReport", many=True)},
            "/v1/cluster/partitions": {"get": _view("partitions", "The partitions.", "PartitionReport", many=True)},
            "/v1/cluster/orders": {"get": _view("orders", "What is ordered, and how far it is.", "OrdersReport")},
            "/v1/cluster/rebalance": {"get": _moves(), "post": _order("rebalance", "Even out.", "RebalanceOrder")},
            "/v1/cluster/drain": {"post": _order("drain", "Have a node hold nothing.", "DrainOrder")},
            "/v1/cluster/min-in-sync": {
                "post": _order("min_in_sync", "Say how many copies a success needs.", "MinInSyncOrder")
            },
            "/v1/cluster/recover": {
                "post": _order("recover", "Go on from a copy.", "RecoverOrder", "RecoveryReport", 421)
            },
            "/v1/storage": {"get": _view("storage", "The tree as it stands.", "StorageReport")},
            "/v1/storage/digest": {"get": _digest(config)},
            "/v1/storage/flush": {"post": _view("flush", "Write the memtables to SSTables.", "StorageReport")},
            "/v1/storage/compact": {"post": _view("compact", "Merge all SSTables.", "StorageReport")},
            "/healthz": {"get": _view("health", "Whether the process lives.", "Status")},
            "/readyz": {"get": _view("readiness", "Whether all partitions here can be used.", "Status")},
            "/metrics": {"get": _plain("metrics", "Counts, for Prometheus.", "text/plain", {"type": "string"})},
            "/openapi.json": {"get": _plain("openapi", "This document.", "application/json", {"type": "object"})},
        },
        "components": {"schemas": _schemas(config), "headers": _HEADERS, "responses": _responses()},
    }


def _schemas(config: Config) -> Json:
    kinds = (Problem, ListedPage, BatchRequest, BatchAnswer, StorageReport, ClusterReport, NodeReport, PartitionReport)
    orders = (OrdersReport, Moves, DrainOrder, RebalanceOrder, MinInSyncOrder, RecoverOrder, RecoveryReport)
    _, schemas = msgspec.json.schema_components((*kinds, *orders, DigestReport, Status), ref_template=_REF)
    schemas["BatchRequest"]["properties"]["operations"]["maxItems"] = config.limits.batch_operations_max
    one_key = {"oneOf": [{"required": ["key"]}, {"required": ["key_base64"]}]}
    one_value = {"oneOf": [{"required": ["value"]}, {"required": ["value_base64"]}]}
    one_condition = {"not": {"required": ["if_absent", "if_version"]}}
    schemas["PutOperation"]["allOf"] = [one_key, one_value, one_condition]
    schemas["DeleteOperation"]["allOf"] = [one_key]
    schemas["GetOperation"]["allOf"] = [one_key]
    return schemas


def _responses() -> Json:
    retry_after = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    return {
        f"Problem{status}": {
            "description": text,
            "content": {"application/problem+json": {"schema": {"$ref": _REF.format(name="Problem")}}},
        }
        | ({"headers": retry_after} if status == 503 else {})
        | ({"headers": _header_refs("ETag")} if status == 412 else {})
        for status, text in _PROBLEMS.items()
    }


def _header_refs(*names: str) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _answers(good: Json, *bad: int) -> Json:
    refusals = {str(status): {"$ref": f"#/components/responses/Problem{status}"} for status in sorted({*_ALWAYS, *bad})}
    return good | refusals


def _parameter(place: str, name: str, text: str, schema: Json) -> Json:
    return {"in": place, "name": name, "description": text, "schema": schema, "required": place == "path"}


def _timeout(config: Config) -> Json:
    schema = {"type": "integer", "minimum": 1, "maximum": config.http.request_timeout_max_ms}
    text = f"The request's deadline in ms; {config.http.request_timeout_ms} if it is left out."
    return _parameter("header", "X-CoreCache-Timeout", text, schema)


def _key(config: Config) -> Json:
    if_match = _parameter(
        "header",
        "If-Match",
        "Only if the record has one of these versions; `*`: any.",
        {"type": "string", "pattern": rf"^(?:\*|{_TAG}(?:, {_TAG})*)$"},
    )
    if_absent = _parameter("header", "If-None-Match", "Only if there is no record.", {"const": "*", "type": "string"})
    unless = _parameter(
        "header",
        "If-None-Match",
        "304 if the record still has one of these versions.",
        {"type": "string", "pattern": r'^(?:\*|(?:W/)?"[!#-~]*"(?:, (?:W/)?"[!#-~]*")*)$'},
    )
    ttl = _parameter(
        "query",
        "ttl",
        "Seconds after which the record expires; decimals allowed, rounded up to ms; at most ten years.",
        {
            "type": "string",
            "pattern": r"^(?:[1-9][0-9]{0,7}(?:\.[0-9]{1,3})?|0\.(?:[1-9][0-9]{0,2}|0[1-9][0-9]?|00[1-9]))$",
        },
    )
    stale = _parameter(
        "query", "consistency", "Let any replica answer from what it has.", {"type": "string", "enum": ["stale"]}
    )
    octets: Json = {"application/octet-stream": {"schema": {}}}
    known = _header_refs("ETag", "X-CoreCache-Timestamp", "X-CoreCache-Expires", "X-CoreCache-Sequence")
    found = {"description": "The value.", "headers": known, "content": octets}
    unchanged = {"description": "Not changed.", "headers": _header_refs("ETag", "X-CoreCache-Sequence")}
    stored = {"description": "Stored.", "headers": _header_refs("ETag")}
    deadline = _timeout(config)
    return {
        "parameters": [
            _parameter("path", "key", "1 to 8,192 bytes, percent-encoded.", {"type": "string", "minLength": 1})
        ],
        "put": {
            "operationId": "put",
            "summary": "Store a value.",
            "parameters": [ttl, if_match, if_absent, deadline],
            "requestBody": {"content": octets},
            "responses": _answers({"204": stored}, 412, 413, 504, 507),
        },
        "get": {
            "operationId": "get",
            "summary": "Read a value.",
            "parameters": [stale, unless, deadline],
            "responses": _answers({"200": found, "304": unchanged}, 404),
        },
        "head": {
            "operationId": "head",
            "summary": "Read about a value.",
            "parameters": [stale, unless, deadline],
            "responses": _answers({"200": found, "304": unchanged}, 404),
        },
        "delete": {
            "operationId": "delete",
            "summary": "Remove a record.",
            "parameters": [if_match, deadline],
            "responses": _answers({"204": {"description": "Removed."}}, 404, 412, 504),
        },
    }


def _list(config: Config) -> Json:
    octets = {"type": "string"}
    empty = {"type": "string", "maxLength": 0}
    limit = {"anyOf": [{"type": "integer", "minimum": 1, "maximum": LIMIT_MAX}, empty]}
    return {
        "operationId": "list",
        "summary": "List records in byte order, a page at a time. An empty parameter counts as left out.",
        "parameters": [
            _parameter("query", "prefix", "Only keys that begin with these bytes, percent-encoded.", octets),
            _parameter("query", "start", "Only keys from this one on.", octets),
            _parameter("query", "end", "Only keys before this one; empty: no end.", octets),
            _parameter("query", "limit", f"At most so many; a page holds {config.limits.page_items_max:,}.", limit),
            _parameter(
                "query",
                "cursor",
                "What the last page gave.",
                {"type": "string", "pattern": "^(?:A[Q-Za-f][A-Za-z0-9_-]+)?$"},
            ),
            _parameter("query", "keys_only", "Leave the values out.", {"anyOf": [{"type": "boolean"}, empty]}),
            _timeout(config),
        ],
        "responses": _answers({"200": _json("A page.", {"$ref": _REF.format(name="ListedPage")})}),
    }


def _batch(config: Config) -> Json:
    request = {"application/json": {"schema": {"$ref": _REF.format(name="BatchRequest")}}}
    return {
        "operationId": "batch",
        "summary": "Execute several operations.",
        "parameters": [_timeout(config)],
        "requestBody": {"required": True, "content": request},
        "responses": _answers(
            {"200": _json("A result for each operation.", {"$ref": _REF.format(name="BatchAnswer")})}, 413, 504, 507
        ),
    }


def _json(text: str, schema: Json) -> Json:
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def _view(name: str, text: str, schema_name: str, many: bool = False) -> Json:
    schema: Json = {"$ref": _REF.format(name=schema_name)}
    return _plain(name, text, "application/json", {"type": "array", "items": schema} if many else schema)


def _moves() -> Json:
    asked = _view("moves", "What a rebalance would move, in its order.", "Moves")
    drain = _parameter("query", "drain", "What the drain of this node would move, instead.", {"type": "string"})
    return asked | {"parameters": [drain]}


def _order(name: str, text: str, schema_name: str, answer_name: str = "OrdersReport", *bad: int) -> Json:
    body = {"required": True, "content": {"application/json": {"schema": {"$ref": _REF.format(name=schema_name)}}}}
    good = {"200": _json("How things stand then.", {"$ref": _REF.format(name=answer_name)})}
    return {"operationId": name, "summary": text, "requestBody": body, "responses": _answers(good, 504, *bad)}


def _digest(config: Config) -> Json:
    number = {"type": "integer", "minimum": 0, "maximum": config.cluster.partitions - 1}
    asked = _view(
        "digest", "A checksum of this node's replica of a partition: equal for equal replicas.", "DigestReport"
    )
    return asked | {"parameters": [_parameter("query", "partition", "Which.", number) | {"required": True}]}


def _plain(name: str, text: str, media_type: str, schema: Json) -> Json:
    good = {"description": text, "content": {media_type: {"schema": schema}}}
    return {"operationId": name, "summary": text, "responses": _answers({"200": good})}
