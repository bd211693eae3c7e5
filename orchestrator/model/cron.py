"""Five-field cron expressions: which minutes of the wall clock they name, and the moments these
are.

The rules are those of cron(8): lists, ranges, steps, names of months and days; where both the day
of the month and the day of the week are restricted, either is enough. A time that the clock skips
(summer time begins) counts as the first moment after it; a time that comes twice (summer time ends)
counts once, the first time.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo

from orchestrator.model.closeness import closest
from orchestrator.model.units import plural
from orchestrator.patterns import regex
from orchestrator.records import dataclass

NAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
_DAYS = "sun mon tue wed thu fri sat".split()
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of the month", 1, 31, {}),
    ("month", 1, 12, {name: place for place, name in enumerate(_MONTHS, 1)}),
    ("day of the week", 0, 7, {name: place for place, name in enumerate(_DAYS)}),
)
_PART = regex(r"(\*|[a-z]{3}|\d+)(?:-([a-z]{3}|\d+))?(?:/(\d+))?\Z")
FAR = (
    366 * 9
)  # days that are looked through for the next time: longer than between two 29ths of February


@dataclass(frozen=True, slots=True)
class Cron:
    """The values that each field allows."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]  # 0 is Sunday
    either: bool  # a day that fits one of the two restricted fields is enough

    def fits(self, day: datetime) -> bool:
        """Whether this is one of its days."""
        if day.month not in self.months:
            return False
        of_month, of_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return of_month or of_week if self.either else of_month and of_week


def cron_from(text: str) -> Cron:
    """The expression; ValueError says what is wrong with it, and with which field."""
    words = NAMES.get(text.strip().lower(), text).lower().split()
    if len(words) != 5:
        fields = "minute, hour, day of the month, month, day of the week"
        close = closest(f"@{words[0].lstrip('@')}", NAMES, 0.8) if len(words) == 1 else ""
        way = f"did you mean '{close}'?" if close else fields
        count = plural(len(words), "field")
        raise ValueError(f"'{text[:60]}' has {count}, and a schedule has five: {way}")
    sets = [_field(word, *field) for word, field in zip(words, _FIELDS, strict=True)]
    weekdays = frozenset(value % 7 for value in sets[4])
    either = words[2][0] != "*" and words[4][0] != "*"
    made = Cron(
        tuple(sorted(sets[0])),
        tuple(sorted(sets[1])),
        frozenset(sets[2]),
        frozenset(sets[3]),
        weekdays,
        either,
    )
    longest = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}
    if not either and all(min(sets[2]) > longest.get(month, 31) for month in sets[3]):
        raise ValueError(f"'{text[:60]}' names a day that never comes")
    return made


def _field(word: str, name: str, low: int, high: int, names: dict[str, int]) -> set[int]:
    found: set[int] = set()
    for part in word.split(","):
        match = _PART.match(part)
        if not match or (match[1] == "*" and match[2]):
            raise ValueError(f"'{part[:20]}' is not a valid {name}")
        first = low if match[1] == "*" else _value(match[1], name, low, high, names)
        last = high if match[1] == "*" or match[3] else first
        if match[2]:
            last = _value(match[2], name, low, high, names)
        step = int(match[3] or 1)
        if step == 0 or last < first:
            raise ValueError(f"'{part[:20]}' is not a valid {name}: it is empty")
        found.update(range(first, last + 1, step))
    return found


def _value(word: str, name: str, low: int, high: int, names: dict[str, int]) -> int:
    value = names.get(word, -1) if word.isalpha() else int(word)
    if not low <= value <= high:
        raise ValueError(f"'{word[:20]}' is not a valid {name}: {low} to {high}")
    return value


def times(cron: Cron, after: float, zone: tzinfo | None) -> Iterator[tuple[float, datetime]]:
    """Every moment after this one (seconds since the epoch) with the wall clock's time; ``zone``
    None is this machine's."""
    start = datetime.fromtimestamp(after, zone).replace(tzinfo=None, fold=0)
    day = start.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
    last = after
    for _ in range(FAR):
        if cron.fits(day):
            for hour in cron.hours:
                for minute in cron.minutes:
                    wall = day.replace(hour=hour, minute=minute)
                    moment = moment_of(wall, zone)
                    if moment > last:
                        last = moment
                        yield moment, wall
        day += timedelta(days=1)


def moment_of(wall: datetime, zone: tzinfo | None) -> float:
    """The moment of a time of the wall clock: the first of two; of one that never is, the moment at
    which the clock skips it."""
    moment = wall.replace(tzinfo=zone, fold=0).timestamp()
    if datetime.fromtimestamp(moment, zone).replace(tzinfo=None, fold=0) == wall:
        return moment
    before = wall.replace(tzinfo=zone, fold=1).timestamp()
    low, high = min(moment, before) - 1.0, max(moment, before) + 1.0
    offset = datetime.fromtimestamp(low, zone).astimezone(zone).utcoffset()
    while high - low > 0.5:  # the moment at which the offset changes
        middle = (low + high) / 2
        if datetime.fromtimestamp(middle, zone).astimezone(zone).utcoffset() == offset:
            low = middle
        else:
            high = middle
    return float(round(high))
