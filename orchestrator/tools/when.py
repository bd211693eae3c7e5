"""When a limit ends, as a program says it: the one reader of such moments.

Programs say it in many ways: ``resets 7:54am (UTC)``, ``try again at Jul 5th, 2026 8:19 PM``,
``Resets in 2h39m52s``, ``retry in 47.4s``, ``"resets_in_seconds": 3600``, ``usage limit
reached|1795679658``. A time of day is its next occurrence. What lies in the past, or more than
`FARTHEST` away, is no answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone, tzinfo
from typing import TYPE_CHECKING

from orchestrator.libraries import later
from orchestrator.patterns import regex

if TYPE_CHECKING:
    import zoneinfo
else:
    zoneinfo = later("zoneinfo")

FARTHEST = 400 * 86400.0  # seconds; no plan has longer windows
JUST_NOW = 90.0  # seconds: a time of day is told in whole minutes, and clocks differ
_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
_DAYS = "mon tue wed thu fri sat sun".split()
_ZONES = {
    "UTC": 0, "GMT": 0, "Z": 0, "EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6,
    "PST": -8, "PDT": -7, "CET": 1, "CEST": 2, "BST": 1, "EET": 2, "EEST": 3, "JST": 9, "IST": 5.5,
    "MSK": 3, "SGT": 8, "HKT": 8, "KST": 9, "AEST": 10, "AEDT": 11, "NZST": 12, "NZDT": 13, "WET": 0, "WEST": 1,
}  # fmt: skip
# Names that stand for summer and winter alike.
_PLACES = {
    "PT": "America/Los_Angeles", "PACIFIC": "America/Los_Angeles", "MT": "America/Denver", "MOUNTAIN": "America/Denver",
    "CT": "America/Chicago", "CENTRAL": "America/Chicago", "ET": "America/New_York", "EASTERN": "America/New_York",
}  # fmt: skip

# What must come before a moment for it to be the end of something, not a figure in passing.
_ANCHOR = regex(
    r"\b(?:(?:will )?reset(?:s|ting)?(?:_?(?:at|in|after|time))?(?!\w)(?:["
    r" _-]?(?:at|on|in|after|time|requests|tokens))?"
    r"|(?:try|retry|retrying|available|back|usable)(?: it)? ?again|retry["
    r" _-]?(?:after|delay)|retry(?:ing)?(?: \(?(?:attempt |try )?#?\d{1,3} ?(?:/|of)"
    r" ?\d{1,3}\b\)?)?|available|wait|until"
    r"|renew(?:s|ed)?|refresh(?:es|ed)?|lift(?:s|ed)|expires|resumes?|reopens?|unlocks?|window"
    r" (?:starts|begins|opens)|continue|(?:come )?back|(?:re)?gain(?:ed)?"
    r" access|(?:cycle|period|month|window) ends)"
    r"(?:[\s:,.·•~≈\"'=(]+|\b(?:at|on|in|after|for|about|around|within|approximately|from|less"
    r" than|under|up to|another|the|(?:every|each) day|daily)\b)*",
    re.I,
)
_NUMBER = r"(\d{1,3}(?:,\d{3})+|\d{1,7}(?:\.\d{1,9})?)"
_UNITS = {
    "mo(?:nth)?s?": 2592000.0,
    "w(?:eeks?|ks?)?": 604800.0,
    "d(?:ays?)?": 86400.0,
    "h(?:(?:ou)?rs?)?": 3600.0,
    "m(?:in(?:ute)?s?)?": 60.0,
    "s(?:ec(?:ond)?s?)?": 1.0,
    "(?:ms|milli(?:second)?s?)": 0.001,
}
_PART_TEXT = rf"{_NUMBER} ?(?:{'|'.join(f'({unit})' for unit in _UNITS)})(?![a-z])[ ,]*(?:and )?"
_PART = regex(_PART_TEXT, re.I)
_BARE = regex(r"([0-5]\d)(?![\d:.]| ?[a-z])", re.I)
_COUNTS = "a an one two three four five six seven eight nine ten eleven twelve".split()
_A_UNIT = regex(
    rf"({'|'.join(_COUNTS)}|half an?) (month|week|day|hour|minute|moment|second)s?\b( and a"
    r" half\b)?",
    re.I,
)
_WORDS = {
    "month": 2592000.0, "week": 604800.0, "day": 86400.0, "hour": 3600.0, "minute": 60.0, "moment": 60.0, "second": 1.0,
}  # fmt: skip
_WITHIN = regex(r"\bin\W*\Z", re.I)
_OF_DAY = regex(r"\bat\W*\Z", re.I)  # what follows is a time of day: at 19h00
_RUNNING = regex(r"(\d{1,3}):(\d\d)(?::(\d\d))?(?![\d:]| ?[ap]\.?m)", re.I)  # 1:23:45
_COUNTED = regex(
    r"\b(?:until|till|to|before) (?:the )?(?:next )?\Z", re.I
)  # time until reset: 02:15:00
# 2h 5m left until it resets: the span comes first.
_LEFT = regex(
    rf"(?<![\w.,])((?:{_PART_TEXT})+)(?:left |remaining"
    r" )?(?:until|till|before)\b[^.;\n]{0,20}?\b(?:reset|renew|refresh|available)",
    re.I,
)
# 请在 15 分钟后重试, 2 小时后: the span comes before the word that says so.
_EASTERN = regex(
    r"(\d{1,6}(?:\.\d+)?) ?(天|日|小时|時間|分钟|分鐘|分|秒钟|秒)(?:钟|间|間)?(?:之)?[后後]"
)
_EASTERN_UNITS = {"天": 86400.0, "日": 86400.0, "小": 3600.0, "時": 3600.0, "分": 60.0, "秒": 1.0}
_KEYED = regex(
    r"(?:resets?|retry|reset|available)[_-]?(?:in|after|delay)?[_-]?(seconds|secs|sec|s|ms|milliseconds|after)[\"']?\s*[:=]\s*[\"']?"
    rf"{_NUMBER}(?![\d:.-])",
    re.I,
)
_EPOCH = regex(
    r"(?:\||\breset(?:s|_?at|s_?at|_?time)?(?: at)?[\"']?\s*[:=]?\s*[\"']?)(1\d{9})(\d{3})?(?!\d)",
    re.I,
)
_ISO = regex(
    r"(\d{4}-\d\d-\d\d)(?:(?:[T ]|,? at )(\d\d:\d\d(?::\d\d)?)(?:\.\d+)?"
    r" ?(Z\b|UTC\b|GMT\b|[+-]\d\d:?\d\d)?)?",
    re.I,
)
_CLOCK = r"(?P<hour>\d{1,2})(?:[:h](?P<minute>\d\d)(?::\d\d)?)? ?(?P<half>[ap]\.?m\b\.?)?"
_ZONE = r"(?:\s*\(?(?P<zone>[A-Z][A-Za-z_]+(?:/[A-Za-z_+-]+){1,2}|(?:UTC|GMT)[+-]\d{1,2}(?::?\d\d)?|[+-]\d\d:?\d\d\b|[A-Z]{1,5}\b|Pacific|Mountain|Central|Eastern)\)?)?"
_MONTH = rf"(?P<month>{'|'.join(_MONTHS)})[a-z]*\.?"
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_NAMED = rf"(?:(?:{'|'.join(_DAYS)})[a-z]*,? )?"
_DATES = (
    *(
        regex(_NAMED + form + rf"(?:(?:,| at|, at| @)? ?{_CLOCK}{_ZONE})?", re.I)
        for form in (
            rf"{_MONTH} {_DAY}(?!\d|:)(?:,? (?P<year>\d{{4}})\b)?",
            rf"{_DAY}(?: of |[ -]){_MONTH}(?:,?[ -](?P<year>\d{{4}})\b)?",
            r"(?P<month>\d{1,2})/(?P<day>\d{1,2})(?:/(?P<year>\d{4}|\d\d)\b)?(?![\d/])",
            r"(?P<day>\d{1,2})\.(?P<month>\d{1,2})\.(?P<year>\d{4})\b",
        )
    ),
    regex(rf"{_CLOCK}{_ZONE},? on {_NAMED}{_MONTH} {_DAY}(?:,? (?P<year>\d{{4}})\b)?", re.I),
)
_WEEKDAY = regex(
    rf"(?:next )?(?P<name>{'|'.join(_DAYS)}|tomorrow|today|tonight)[a-z]*(?:,| at)*"
    rf" ?(?:(?:(?P<named>midnight|noon)|{_CLOCK}){_ZONE})?",
    re.I,
)
_TIME = regex(rf"(?:(?P<named>midnight|noon)|{_CLOCK}){_ZONE}(?P<next>,?\s*\(?tomorrow\b)?", re.I)


def ends(text: str, now: float, local: tzinfo | None = None) -> float | None:
    """The first moment after ``now`` (seconds since the epoch) at which the text says that
    something is over; None if it says none. ``local`` is the zone of times without one (None: this
    machine's)."""
    return next(
        (moment for moment in _moments(text, now, local) if now < moment <= now + FARTHEST), None
    )


def moment(value: object, now: float) -> float | None:
    """A moment that a program gives as data: seconds or milliseconds since the epoch, or an RFC
    3339 text; None if it is none, or over."""
    found: float | None = None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        found = value / 1000 if value > 1e11 else float(value)
    elif isinstance(value, str):
        iso = _ISO.match(value)
        found = _iso(iso, None) if iso else None
    return found if found is not None and now < found <= now + FARTHEST else None


def _moments(text: str, now: float, local: tzinfo | None) -> Iterator[float]:
    for match in _EPOCH.finditer(text):
        yield float(match[1])
    for match in _KEYED.finditer(text):
        yield now + float(match[2]) * (0.001 if match[1].lower().startswith("m") else 1.0)
    for match in _EASTERN.finditer(text):
        yield now + float(match[1]) * _EASTERN_UNITS[match[2][0]]
    for match in _LEFT.finditer(text):
        span = _span(text, match.start())
        if span is not None:
            yield now + span
    for anchor in _ANCHOR.finditer(text):
        counts = _WITHIN.search(anchor[0]) or _COUNTED.search(text, 0, anchor.start())
        running = _RUNNING.match(text, anchor.end()) if counts else None
        if running:
            yield now + int(running[1]) * 3600 + int(running[2]) * 60 + int(running[3] or 0)
            continue
        found = _after(text, anchor.end(), now, local)
        if found is not None:
            yield found


def _after(text: str, start: int, now: float, local: tzinfo | None) -> float | None:
    """The moment that begins at this place of the text."""
    span = None if _OF_DAY.search(text, max(0, start - 8), start) else _span(text, start)
    if span is not None:
        return now + span
    iso = _ISO.match(text, start)
    if iso:
        return _iso(iso, local)
    for form in _DATES:
        date = form.match(text, start)
        if date:
            return _date(date, now, local)
    weekday = _WEEKDAY.match(text, start)
    if weekday:
        return _weekday(weekday, now, local)
    clock = _TIME.match(text, start)
    if clock and (clock["named"] or clock["minute"] or clock["half"]):
        return _clock(clock, now, local)
    return None


def _span(text: str, start: int) -> float | None:
    word = _A_UNIT.match(text, start)
    if word:
        return (_count(word[1].lower()) + (0.5 if word[3] else 0)) * _WORDS[word[2].lower()]
    total, position = 0.0, start
    while part := _PART.match(text, position):
        size = next(
            size
            for group, size in zip(part.groups()[1:], _UNITS.values(), strict=True)
            if group is not None
        )
        total += float(part[1].replace(",", "")) * size
        position = part.end()
        less = _BARE.match(text, position)
        if size == 3600.0 and less:  # 7h30
            return total + int(less[1]) * 60
    return total if position > start else None


def _count(word: str) -> float:
    return 0.5 if word.startswith("half") else max(1, _COUNTS.index(word) - 1)


def _zone(name: str | None, local: tzinfo | None) -> tzinfo | None:
    """The zone of this name; ``local`` if none is named, or none that is known."""
    if not name:
        return local
    if name.upper() in _ZONES:
        return timezone(timedelta(hours=_ZONES[name.upper()]))
    name = _PLACES.get(name.upper(), name)
    offset = re.fullmatch(r"(?:UTC|GMT)?([+-])(\d{1,2}):?(\d\d)?", name, re.I)
    if offset:
        minutes = int(offset[2]) * 60 + int(offset[3] or 0)
        minutes = -minutes if offset[1] == "-" else minutes
        return timezone(timedelta(minutes=minutes)) if abs(minutes) < 1440 else local
    try:
        return zoneinfo.ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return local


def _iso(match: re.Match[str], local: tzinfo | None) -> float | None:
    zone = (match[3] or "").upper()
    zone = "+00:00" if zone in ("Z", "UTC", "GMT") else zone
    try:
        found = datetime.fromisoformat(f"{match[1]}T{match[2] or '00:00'}{zone}")
    except ValueError:
        return None
    return _stamp(found if found.tzinfo else found.replace(tzinfo=local))


def _stamp(found: datetime) -> float | None:
    try:
        return found.timestamp()
    except (OverflowError, ValueError, OSError):
        return None


def _hour(match: re.Match[str]) -> tuple[int, int] | None:
    """Hour and minute; None if this is not a time of day."""
    if match.groupdict().get("named"):
        return (0 if match["named"].lower() == "midnight" else 12), 0
    if match["hour"] is None:
        return 0, 0
    hour, minute = int(match["hour"]), int(match["minute"] or 0)
    if match["half"]:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if match["half"].lower().startswith("p") else 0)
    return (hour, minute) if hour < 24 and minute < 60 else None


def _date(match: re.Match[str], now: float, local: tzinfo | None) -> float | None:
    """A date; without a year it is the one nearest to now."""
    zone, clock = _zone(match["zone"], local), _hour(match)
    if clock is None:
        return None
    this = datetime.fromtimestamp(now, zone).year
    years = [this, this + 1, this - 1]
    if match["year"]:
        year = int(match["year"])
        years = [year if year > 99 else 2000 + year]
    found = []
    for year in years:
        try:
            day = datetime(year, *_month_and_day(match), *clock)
        except ValueError:  # 29 February
            continue
        stamp = _stamp(day.replace(tzinfo=zone))
        if stamp is not None:
            found.append(stamp)
    return min(found, key=lambda stamp: abs(stamp - now), default=None)


def _month_and_day(match: re.Match[str]) -> tuple[int, int]:
    """As it is written; a month that cannot be one is the day: 30/11."""
    month, day = _month(match["month"]), int(match["day"])
    return (day, month) if month > 12 else (month, day)


def _month(text: str) -> int:
    return int(text) if text.isdecimal() else _MONTHS.index(text[:3].lower()) + 1


def _weekday(match: re.Match[str], now: float, local: tzinfo | None) -> float | None:
    zone, clock = _zone(match["zone"], local), _hour(match)
    if clock is None:
        return None
    today = datetime.fromtimestamp(now, zone)
    name = match["name"].lower()
    near = {"today": 0, "tonight": 0, "tomorrow": 1}
    ahead = near[name] if name in near else (_DAYS.index(name) - today.weekday()) % 7
    day = (today + timedelta(days=ahead)).replace(
        hour=clock[0], minute=clock[1], second=0, microsecond=0
    )
    stamp = _stamp(day)
    again = stamp is not None and stamp <= now and name not in near
    return stamp + 7 * 86400 if stamp is not None and again else stamp


def _clock(match: re.Match[str], now: float, local: tzinfo | None) -> float | None:
    """The next occurrence of a time of day; None if it was just now: then it is over."""
    zone, clock = _zone(match["zone"], local), _hour(match)
    if clock is None:
        return None
    today = datetime.fromtimestamp(now, zone).replace(
        hour=clock[0], minute=clock[1], second=0, microsecond=0
    )
    if match["next"]:
        return _stamp(today + timedelta(days=1))
    stamp = _stamp(today)
    if stamp is None or stamp > now:
        return stamp
    return None if now - stamp < JUST_NOW else _stamp(today + timedelta(days=1))
