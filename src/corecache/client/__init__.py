"""What talks to a node or a cluster over HTTP: `Client`, its twin `AsyncClient`, and what they raise.

Read in this order: `requests` (what is asked), `answers` (what came back, as a value or an error), `attempts` (what may
be asked again, where and when) are pure and shared by both clients; `endpoints` turns addresses into connections;
`client` and `async_client` only send, wait and receive. So the two can't drift apart: neither has anything to decide.

The errors are those of `corecache.errors`, and one of the client's own, `ConditionFailed`.
"""

from corecache.client.answers import ConditionFailed
from corecache.client.async_client import AsyncClient
from corecache.client.client import Client

__all__ = ["AsyncClient", "Client", "ConditionFailed"]
