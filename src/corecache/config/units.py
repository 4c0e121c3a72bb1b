"""The units and the words that several sections of settings share."""

from typing import Annotated, Final, TypeAlias

from msgspec import Meta

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

PLAIN: Final = r"\A[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+\Z"
"""Text that the system takes and that a log shows on one line. Bytes that are no UTF-8 arrive as surrogates."""

Port: TypeAlias = Annotated[int, Meta(ge=0, le=65_535)]
