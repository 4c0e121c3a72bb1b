"""Orders over HTTP: what is shown, what is taken, and what is refused."""

from typing import Any

from corecache.errors import CallerFault, OutcomeUnknown
from serving.http_lab import Lab, served

ORDERS = ("drain", "rebalance", "min-in-sync", "recover")


async def order(lab: Lab, path: str, body: bytes) -> Any:
    """Gives an order that is taken; returns the answer's JSON."""
    answer = await lab.ask("POST", f"/v1/cluster/{path}", body)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json"), answer
    return answer.json()


@served()
async def test_orders_are_given_and_shown(lab: Lab) -> None:
    """Each answers how things stand then, which a GET shows too."""
    shown = await order(lab, "drain", b'{"node": "memory"}')
    assert shown["draining"] == [{"node": "memory", "holds": 1, "drained": False}]
    assert (await order(lab, "drain", b'{"node": "memory", "cancel": true}'))["draining"] == []
    assert not (await order(lab, "rebalance", b'{"run": false}'))["rebalancing"]
    assert (await order(lab, "rebalance", b'{"run": true}'))["rebalancing"]
    last = await order(lab, "min-in-sync", b'{"min_in_sync": 1}')
    assert last == (await lab.ask("GET", "/v1/cluster/orders")).json()
    assert last == {
        "controller": "memory",
        "draining": [],
        "rebalancing": True,
        "min_in_sync": 1,
        "min_in_sync_left": 0,
        "moving": [],
        "moves_left": 0,
    }


@served()
async def test_a_preview_is_shown(lab: Lab) -> None:
    """Of a rebalance, or of a drain; a node's id is percent-decoded."""
    move = {"partition": 0, "before": ["memory"], "after": ["other"], "reason": "a test wants it"}
    for query in ("", "?drain=memory", "?drain=mem%6fry"):
        answer = await lab.ask("GET", f"/v1/cluster/rebalance{query}")
        assert (answer.status, answer.json()) == (200, {"moves": [move]})
    for query, code in (
        ("?drain=nobody", "node_unknown"),
        ("?drain=%ff", "bad_parameter"),
        ("?node=a", "bad_parameter"),
    ):
        answer = await lab.ask("GET", f"/v1/cluster/rebalance{query}")
        assert (answer.status, answer.json()["code"]) == (400, code)
        assert "outcome" not in answer.json()


@served()
async def test_a_forced_promotion_is_ordered(lab: Lab) -> None:
    """It has to be accepted, and by the node whose copy it is: any other says whom to ask."""
    told = await order(lab, "recover", b'{"partition": 0, "node": "memory", "accept_data_loss": true}')
    assert (told["partition"], told["lineage"]) == (0, 2)
    for body, status, code in (
        (b'{"partition": 0, "node": "memory"}', 400, "data_loss_not_accepted"),
        (b'{"partition": 0, "node": "other", "accept_data_loss": true}', 421, "other_node"),
    ):
        answer = await lab.ask("POST", "/v1/cluster/recover", body)
        assert (answer.status, answer.json()["code"], answer.json()["outcome"]) == (status, code, "not_done")


@served()
async def test_what_is_no_order_is_refused(lab: Lab) -> None:
    """Bad JSON, unknown or missing fields, values of another kind or out of range, too much: nothing is done."""
    bad = {
        "drain": [b"", b"[]", b'{"node": ""}', b'{"node": 1}', b'{"cancel": true}', b'{"node": "memory", "no": 1}'],
        "rebalance": [b"{}", b'{"run": 1}', b'{"run": "true"}', b'{"run": true', b'{"run": true, "dry_run": true}'],
        "min-in-sync": [b'{"min_in_sync": -1}', b'{"min_in_sync": 8}', b'{"min_in_sync": 1.5}', b'{"min_in_sync": ""}'],
        "recover": [
            b'{"partition": -1, "node": "memory"}',
            b'{"partition": 16384, "node": "memory"}',
            b'{"partition": "0", "node": "memory"}',
            b'{"partition": 0}',
            b'{"partition": 0, "node": "memory", "accept_data_loss": 1}',
        ],
    }
    for path, bodies in bad.items():
        for body in (*bodies, b"\xff", b'{"node": "\\ud800"}', b"[" * 3000, b" " * 4097):
            answer = await lab.ask("POST", f"/v1/cluster/{path}", body)
            assert (answer.status, answer.json()["code"], answer.json()["outcome"]) == (400, "bad_order", "not_done")
    padded = b'{"run": false}'.ljust(4097)
    assert (await lab.ask("POST", "/v1/cluster/rebalance", padded)).status == 400
    for path in ORDERS:
        answer = await lab.ask("POST", f"/v1/cluster/{path}?a=b", b"{}")
        assert (answer.status, answer.json()["code"]) == (400, "bad_parameter")
    assert (await lab.ask("GET", "/v1/cluster/orders")).json()["draining"] == []
    assert lab.service.begun == 1


@served()
async def test_the_service_is_heard(lab: Lab) -> None:
    """Whatever it raises is the answer, and for an order it has an outcome."""
    for error, status in (
        (CallerFault("too_few_nodes", "Add a node."), 400),
        (OutcomeUnknown("order_unknown", "It may stand."), 504),
    ):
        lab.service.arranged = error
        answer = await lab.ask("POST", "/v1/cluster/rebalance", b'{"run": true}')
        assert (answer.status, answer.json()["code"], answer.json()["outcome"]) == (status, error.code, error.outcome)
