"""Where the time of an operation goes, as people read it: a row for each layer, a column for each kind of request."""

from benchmarks.profile_folded import LAYERS
from benchmarks.profile_report import Profile

Table = tuple[tuple[str, ...], list[tuple[str, ...]]]
"""Its head and its rows."""


def by_layer(profile: Profile) -> Table:
    """Returns the table of layers, with the whole and the rate below them."""
    paths = profile.paths
    head = (f"Processor time an operation, {profile.connections} connections", *(each.what for each in paths))
    rows: list[tuple[str, ...]] = [
        (layer, *(f"{each.layers[layer]:.1f} µs, {each.layers[layer] / each.cpu_us:.0%}" for each in paths))
        for layer in LAYERS
    ]
    rows.append(("all", *(f"{each.cpu_us:.1f} µs" for each in paths)))
    rows.append(("rate, without the sampler", *(f"{each.run.per_second:,.0f}/s" for each in paths)))
    rows.append(("samples", *(f"{each.samples:,}" for each in paths)))
    return head, rows
