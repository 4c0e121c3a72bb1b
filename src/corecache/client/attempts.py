"""What may be sent again, to whom and when: the rules of trying, for one request. Pure: time and dice are handed in.

Rule 1: a request that changes something is sent again only when it surely did not happen: the node said *not done*
(503), or the connection was never established. If an answer is lost on the way, the outcome is unknown, and it is the
caller who knows whether repeating is harmless.

Rule 2: a request that changes nothing is sent again after any lost connection, and after 503.

Rule 3: all attempts together end by the deadline. While other endpoints are untried, one attempt (of a write: its
connecting) may take only its share of what is left, so that one silent node does not use up the time of all.

Rule 4: another endpoint is tried at once; a whole round without success is followed by a pause that doubles each time,
shortened by up to a half at random so that clients don't return in step, and never shorter than a node's `Retry-After`.
"""

import random
from typing import Final

import msgspec

from corecache.client.answers import Answer, problem, retry_after_ms
from corecache.client.requests import Request
from corecache.errors import NotDone, OutcomeUnknown

FIRST_PAUSE_S: Final = 0.05
PAUSE_S_MAX: Final = 2.0


class Attempt(msgspec.Struct, frozen=True):
    """One sending: to which endpoint, and by when (on the clock handed in) it must have connected and ended."""

    endpoint: int
    connected_by: float
    ended_by: float


class Attempts:
    """The attempts at one request, first to last.

    The caller asks `begin` for an attempt, makes it, and reports how it ended: `answered`, `unreachable` or `lost`. The
    report returns how many seconds to pause before the next attempt.
    """

    def __init__(
        self, request: Request, endpoints: int, first: int, deadline: float, rounds_max: int | None, dice: random.Random
    ) -> None:
        """Starts at endpoint `first` of `endpoints`; gives up at `deadline` or after `rounds_max` vain rounds."""
        assert 0 <= first < endpoints
        self.endpoint = first
        self._request = request
        self._endpoints = endpoints
        self._deadline = deadline
        self._rounds_max = rounds_max
        self._dice = dice
        self._failures = 0

    def begin(self, now: float) -> Attempt:
        """Returns the next attempt."""
        untried = self._endpoints - self._failures % self._endpoints
        share = now + (self._deadline - now) / untried
        return Attempt(self.endpoint, share, share if self._request.repeatable else self._deadline)

    def answered(self, answer: Answer, now: float) -> float | None:
        """Returns the pause before the next attempt, None if this answer is the last word."""
        if answer.status != 503:
            return None
        said = problem(answer)
        if not self._request.repeatable and (said is None or said.outcome != "not_done"):
            return None
        self._next_endpoint()
        pause = max(self._pause(), retry_after_ms(answer) / 1000)
        return pause if now + pause < self._deadline else None

    def unreachable(self, reason: str, now: float) -> float:
        """Reports that no connection was made. Raises: NotDone if there is no further attempt."""
        return self._failed(
            f"no connection to a node: {reason}; check that it runs and the endpoint", "unreachable", now
        )

    def lost(self, reason: str, now: float) -> float:
        """Reports that the request was sent, at least in part, and no answer came.

        Raises: OutcomeUnknown for a request that changes something, NotDone if there is no further attempt.
        """
        if not self._request.repeatable:
            raise OutcomeUnknown(
                "answer_lost", f"no answer came ({reason}): it may have happened; look before you repeat it"
            )
        return self._failed(f"no answer came: {reason}; try again", "answer_lost", now)

    def _failed(self, message: str, code: str, now: float) -> float:
        self._next_endpoint()
        rounds, within = divmod(self._failures, self._endpoints)
        pause = self._pause() if within == 0 else 0.0
        if now + pause >= self._deadline or (self._rounds_max is not None and rounds >= self._rounds_max):
            raise NotDone(code, message)
        return pause

    def _next_endpoint(self) -> None:
        self._failures += 1
        self.endpoint = (self.endpoint + 1) % self._endpoints

    def _pause(self) -> float:
        rounds = max(0, self._failures // self._endpoints - 1)
        longest = min(PAUSE_S_MAX, FIRST_PAUSE_S * 2.0 ** min(rounds, 16))
        return longest * self._dice.uniform(0.5, 1.0)
