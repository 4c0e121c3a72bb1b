"""Decimal numbers as Redis's INCRBYFLOAT has them on a PC: as long doubles, which have 64 bits of precision.

Rule 1: a number is rounded when it is read, and so is a sum: to the nearest long double, the even one of two.
Rule 2: it is told with 17 digits after the point, less the zeros at the end.
Rule 3: all is computed with integers, so that every machine gives the same; a machine's own floating point is not used.
Rule 4: whatever the text, the work is bounded: by its length, and by the exponents that a long double has.

Redis also reads hexadecimal numbers; here they are none.
"""

import re
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from fractions import Fraction
from typing import Literal

_NUMBER_CHARACTERS_MAX = 5119
_NUMBER = re.compile(rb"[+-]?(?P<digits>[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_INFINITY = re.compile(rb"[+-]?inf(?:inity)?", re.IGNORECASE)
_EXPONENT_MAX = 5000
_EXACT = Context(prec=6000, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])
_PLACES = 17
_PRECISION_BITS = 64
_UNIT_EXPONENT_MIN = -16445
"""Of the least long double above 0."""
_LIMIT = Fraction(2) ** 16384
"""Long doubles are smaller."""


def number_of(text: bytes) -> Fraction | Literal["infinity"] | None:
    """Returns the number that a text says, as a long double, or that it says an infinity; None if it says neither."""
    if len(text) > _NUMBER_CHARACTERS_MAX:
        return None
    if _INFINITY.fullmatch(text):
        return "infinity"
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    if not match["digits"].strip(b"0."):
        return Fraction(0)
    number = _EXACT.create_decimal(text.decode("ascii"))
    # What a long double can't hold has to be told before it is written out: the exponent may be anything.
    if not number.is_finite() or abs(number.adjusted()) > _EXPONENT_MAX:
        return None
    return rounded(Fraction(number)) or None


def rounded(number: Fraction) -> Fraction | None:
    """Returns the long double next to a number, the even one of two; None if it is beyond them all."""
    unit = max(number.numerator.bit_length() - number.denominator.bit_length() - _PRECISION_BITS, _UNIT_EXPONENT_MIN)
    units = _units(number, unit)
    if units.bit_length() > _PRECISION_BITS:
        unit += 1
        units = _units(number, unit)
    nearest = Fraction(units << unit) if unit > 0 else Fraction(units, 1 << -unit)
    return nearest if abs(nearest) < _LIMIT else None


def _units(number: Fraction, exponent: int) -> int:
    """Returns how many times two to the power of `exponent` is nearest to a number."""
    numerator, denominator = number.numerator << max(-exponent, 0), number.denominator << max(exponent, 0)
    units, rest = divmod(numerator, denominator)
    return units + (2 * rest > denominator or (2 * rest == denominator and units % 2 == 1))


def text_of(number: Fraction) -> bytes:
    """Returns how a number is written (rule 2)."""
    text = format(_EXACT.scaleb(Decimal(round(number * 10**_PLACES)), -_PLACES), "f")
    text = text.rstrip("0").rstrip(".")
    return text.encode()
