"""x."""

from corecache.config import Config


def description(config: Config) -> dict[str, object]:
    """X."""
    return {}
