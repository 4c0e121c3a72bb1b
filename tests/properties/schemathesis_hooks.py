"""Tells Schemathesis what an OpenAPI document can't say: which requests are right by its letter, and wrong in fact.

Only requests that are meant to be right are left out, so that "it is right, and was refused" stays a failure for all
others. Each rule has its reason beside it.
"""

import re
from typing import Any

import schemathesis

_TAGS = re.compile(r'\*|(?:W/)?"[^"]*"(?:, (?:W/)?"[^"]*")*')


@schemathesis.hook
def filter_case(context: Any, case: Any) -> bool:
    """Says whether a request is asked at all."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return True
    headers = {name.lower(): str(value) for name, value in (case.headers or {}).items()}
    tags = [headers[name] for name in ("if-match", "if-none-match") if name in headers]
    if len(tags) == 2:
        # They exclude each other; OpenAPI has no word for it.
        return False
    if not all(_TAGS.fullmatch(tag) for tag in tags):
        # Schemathesis itself breaks the declared pattern here: its coverage phase sends 0 without quotes.
        return False
    if case.path in ("/v1/cluster/drain", "/v1/cluster/recover", "/v1/cluster/min-in-sync"):
        # Which orders can be carried out depends on the cluster: on this one, of a single node, hardly any.
        return False
    if "drain" in (case.query or {}):
        return False
    if "cursor" in (case.query or {}):
        # A cursor is right for one listing only, the one whose page gave it.
        return False
    return _is_batch_right(case.body)


def _is_batch_right(body: Any) -> bool:
    operations = body.get("operations") if isinstance(body, dict) else None
    if not isinstance(operations, list):
        return True
    if body.get("atomic") and len(operations) > 1:
        # Drawn keys do not share a partition; how a key finds its partition is beyond a schema.
        return False
    # To JSON Schema 7.0 is an integer. A version is refused as a float because above 2**53 it would be another version.
    return not any(isinstance(operation.get("if_version"), float) for operation in operations)
