"""How the outcomes that are no success are said in Redis's protocol: which error word, and the sentence.

The words are those that Redis's clients know: TRYAGAIN, CLUSTERDOWN and NOREPLICAS promise that nothing was done, and
may be repeated; UNKNOWN is ours: it may have been done. An error of one code may be either: its class decides.
"""

from corecache.errors import CoreCacheError, NotDone
from corecache.wire.resp import Failure

_WORDS = {
    "no_primary": "CLUSTERDOWN",
    "not_ready": "CLUSTERDOWN",
    "unreachable": "CLUSTERDOWN",
    "too_few_copies": "NOREPLICAS",
    "disk_full": "OOM",
    "cross_partition": "CROSSSLOT",
}


def failure_of(error: CoreCacheError) -> Failure:
    """Returns the answer that tells an error."""
    if error.outcome == "unknown":
        word = "UNKNOWN"
    else:
        word = _WORDS.get(error.code) or ("TRYAGAIN" if isinstance(error, NotDone) else "ERR")
    return Failure(f"{word} {error.message}")
