"""CoreCache, a distributed key-value store that keeps its promises.

`from corecache import Client, AsyncClient` is the whole of the embedded interface; every other name is internal.
"""

__version__ = "0.1.0"
