"""A server that a load goes to, and the protocol that is spoken with it. Pure.

Apart from `endpoints`, which finds servers, so that a worker starts without the HTTP client.
"""

from typing import Literal

import msgspec

Protocol = Literal["http", "resp"]


class Target(msgspec.Struct, frozen=True):
    """A server: `tls` only for HTTP."""

    host: str
    port: int
    tls: bool = False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def endpoint(self) -> str:
        """The address as the HTTP client takes it."""
        return f"http{'s' if self.tls else ''}://{self}"
