"""A target that is broken on purpose: it fails when an input has a word that its corpus has not.

Whoever runs it must be told of a failure (exit code 1); if not, the other targets prove nothing.
"""

WORDS = (b"gas",)


class Fell(Exception):
    """The canary fell off its perch."""


def target(data: bytes) -> None:
    """Whatever bytes arrive: it sings. That is not so when there is gas."""
    if b"gas" in data and data.startswith(b"air"):
        raise Fell
