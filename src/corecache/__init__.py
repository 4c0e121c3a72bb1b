"""CoreCache, a distributed key-value store that keeps its promises.

`from corecache import Client, AsyncClient` is the whole of the embedded interface; every other name is internal. Both
are imported when they are first asked for, so that a node, which needs no client, does not load one.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from corecache.client import AsyncClient, Client

__version__ = "0.1.0"
__all__ = ["AsyncClient", "Client", "__version__"]


def __getattr__(name: str) -> object:
    if name in ("AsyncClient", "Client"):
        from corecache import client

        return getattr(client, name)
    raise AttributeError(f"module 'corecache' has no attribute {name!r}")
