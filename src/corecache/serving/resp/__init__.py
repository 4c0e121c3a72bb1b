"""Redis's protocol: bytes in, bytes out, no decisions about data."""
