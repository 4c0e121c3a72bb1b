"""The engine: draws inputs from a seed, hands them to a target, and shrinks the first one that fails.

Rule 1: the inputs depend on the seed, the corpus and the words alone, so that a seed replays a run. No clock decides
what an input is; it may decide only how many there are.
Rule 2: the corpus comes first, unchanged: what failed once is tried again before anything new.
Rule 3: an input that raises is a failure, whatever it raises. A target catches what its parser declares, itself.

An input is a corpus entry with one to eight random changes (bytes flipped, inserted, repeated, removed; a word put in;
a part of another entry put in), or noise now and then. This knows nothing of coverage: the targets are small and their
words are known, and a run of a minute makes a million inputs.
"""

import random
from collections.abc import Callable, Iterator, Sequence

INPUT_BYTES_MAX = 64 * 1024
CHANGES_MAX = 8
_NOISE_EVERY = 50
_SHRINK_TRIALS_MAX = 5_000
_NOTABLE = (0, 1, 9, 10, 13, 32, 34, 37, 43, 47, 127, 128, 192, 224, 255)

Target = Callable[[bytes], object]
Change = Callable[["Engine", bytearray], None]


class Engine:
    """A source of inputs for one target."""

    def __init__(self, corpus: Sequence[bytes], words: Sequence[bytes], seed: int) -> None:
        """Takes the inputs to begin with, the words that mean something, and the seed."""
        self._corpus = [*corpus, b""]
        self._words = [*words, b"\x00"]
        self._random = random.Random(seed)  # noqa: S311 nothing secret: it only draws inputs

    def inputs(self) -> Iterator[bytes]:
        """Gives the corpus, then mutations of it without an end."""
        yield from self._corpus
        count = 0
        while True:
            count += 1
            if count % _NOISE_EVERY == 0:
                yield self._random.randbytes(self._random.randrange(64))
                continue
            octets = bytearray(self._random.choice(self._corpus))
            for _ in range(self._random.randint(1, CHANGES_MAX)):
                self._random.choice(_CHANGES)(self, octets)
            yield bytes(octets[:INPUT_BYTES_MAX])

    def place(self, octets: bytearray) -> int:
        """Draws a place in an input, its end included."""
        return self._random.randrange(len(octets) + 1)

    def span(self, octets: bytearray) -> slice:
        """Draws a part of an input: short more often than long."""
        start = self.place(octets)
        longest = self._random.choice((1, 4, 16, len(octets) + 1))
        return slice(start, start + self._random.randint(1, longest))

    def set_byte(self, octets: bytearray) -> None:
        """Sets a byte to any, or to one that is often an edge."""
        if octets:
            edge = self._random.random() < 0.5
            octets[self._random.randrange(len(octets))] = (
                self._random.choice(_NOTABLE) if edge else self._random.randrange(256)
            )

    def flip_bit(self, octets: bytearray) -> None:
        """Flips one bit."""
        if octets:
            octets[self._random.randrange(len(octets))] ^= 1 << self._random.randrange(8)

    def insert_noise(self, octets: bytearray) -> None:
        """Inserts random bytes."""
        at = self.place(octets)
        octets[at:at] = self._random.randbytes(self._random.randint(1, 8))

    def insert_word(self, octets: bytearray) -> None:
        """Inserts a word."""
        at = self.place(octets)
        octets[at:at] = self._random.choice(self._words)

    def replace_by_word(self, octets: bytearray) -> None:
        """Puts a word in the place of a part."""
        octets[self.span(octets)] = self._random.choice(self._words)

    def remove(self, octets: bytearray) -> None:
        """Removes a part."""
        del octets[self.span(octets)]

    def repeat(self, octets: bytearray) -> None:
        """Repeats a part, rarely very often."""
        part = self.span(octets)
        times = self._random.choice((1, 1, 1, 2, 3, 100, 2000))
        octets[part.stop : part.stop] = (octets[part] * times)[:INPUT_BYTES_MAX]

    def splice(self, octets: bytearray) -> None:
        """Puts a part of another corpus entry in."""
        other = bytearray(self._random.choice(self._corpus))
        octets[self.span(octets)] = other[self.span(other)]

    def change_digits(self, octets: bytearray) -> None:
        """Sets a digit to another, where there is one."""
        digits = [at for at, octet in enumerate(octets) if 48 <= octet <= 57]
        if digits:
            octets[self._random.choice(digits)] = self._random.randrange(48, 58)


_CHANGES: tuple[Change, ...] = (
    Engine.set_byte,
    Engine.flip_bit,
    Engine.insert_noise,
    Engine.insert_word,
    Engine.replace_by_word,
    Engine.remove,
    Engine.repeat,
    Engine.splice,
    Engine.change_digits,
)


def failure_of(target: Target, octets: bytes) -> Exception | None:
    """Returns what a target raises for an input, None if its invariant holds."""
    try:
        target(octets)
    except Exception as error:
        return error
    return None


def shrunk(target: Target, octets: bytes) -> bytes:
    """Returns a shorter input with the same kind of failure: parts are cut out, halves first, as long as one fails.

    Requires: `octets` fails.
    """
    kind = type(failure_of(target, octets))
    trials = 0
    part = max(1, len(octets) // 2)
    while trials < _SHRINK_TRIALS_MAX:
        at, before = 0, len(octets)
        while at < len(octets) and trials < _SHRINK_TRIALS_MAX:
            shorter = octets[:at] + octets[at + part :]
            trials += 1
            if type(failure_of(target, shorter)) is kind:
                octets = shorter
            else:
                at += part
        if part == 1 and len(octets) == before:
            break
        part = max(1, part // 2)
    return octets
