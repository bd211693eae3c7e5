"""Words of before, and words of others, as the verbs and options that mean the same now."""

from __future__ import annotations

import sys

import click

from orchestrator.cli.app import ELSEWHERE, FORMER, FORMER_OPTIONS, SYNONYMS, VERBS
from orchestrator.patterns import regex

TYPOS = 2  # letters that differ between what was typed and what is suggested
WITH_VALUE = ("-C", "--color")  # what every verb takes together with a word of its own
QUIET = ("-q", "--quiet")
COUNT = regex(r"-n\d+\Z")


def translated(args: list[str], ctx: click.Context) -> list[str]:
    """The words of a command, in those that the verbs understand.

    Synonyms of other programs are silent. What we called something else before works, and a
    terminal is told its new name, unless ``-q`` is among the words. Raises `click.UsageError` for a
    verb that nobody knows.
    """
    name, rest = args[0], args[1:]
    told = not ctx.resilient_parsing and not any(word in QUIET for word in rest)
    if name not in VERBS and name in SYNONYMS:
        name, *more = SYNONYMS[name].split()
        rest = [*more, *rest]
    elif name not in VERBS and name in FORMER:
        _note(name, FORMER[name], told)
        name, *more = FORMER[name].split()
        rest = _with_value(more, rest) if more[-1:] == ["--sql"] else [*more, *rest]
    elif name not in VERBS:
        raise click.UsageError(f"no such command '{name}'{_suggestion(name)}", ctx)
    return _options(name, rest, told)


def _options(verb: str, rest: list[str], told: bool) -> list[str]:
    made: list[str] = []
    place = 0
    while place < len(rest) and rest[place] != "--":
        word = rest[place]
        option, equals, value = word.partition("=")
        if COUNT.match(word):
            option, value = word[:2], word[2:]
        pair = f"{option} {value if equals else ' '.join(rest[place + 1 : place + 2])}"
        now = FORMER_OPTIONS.get((verb, option), "")
        if whole := FORMER_OPTIONS.get((verb, pair), ""):
            _note(pair, whole, told)
            made += whole.split()
            place += not equals
        elif now:
            _note(option, now, told)
            first, *more = now.split()
            if first.startswith("-"):
                made.append(first)
            else:  # another verb says it
                verb = first
            made += [*more, *([value] if value else [])]
        else:
            made.append(word)
        place += 1
    return [verb, *made, *rest[place:]]


def _with_value(option: list[str], rest: list[str]) -> list[str]:
    """``query SQL`` took a word where ``events`` has an option with a value."""
    for place, word in enumerate(rest):
        if not word.startswith("-") and (not place or rest[place - 1] not in WITH_VALUE):
            return [*rest[:place], *option, *rest[place:]]
    return rest or option


def _suggestion(name: str) -> str:
    """What may have been meant: a word that means two things, then the nearest by its letters."""
    if name in ELSEWHERE:
        return f". {ELSEWHERE[name]}"
    known = {**{verb: verb for verb in VERBS}, **SYNONYMS, **FORMER}
    near = min((_distance(name, word), word) for word in known)
    if near[0] > min(TYPOS, max(len(name) - 2, 0)):
        return ""
    return f". Did you mean '{known[near[1]]}'?"


def _distance(one: str, other: str) -> int:
    """How many letters are to be put in, taken out, replaced or swapped with the next to make one
    word of the other."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for place, letter in enumerate(one, 1):
        two_before, before, row = before, row, [place]
        for at, wanted in enumerate(other, 1):
            least = min(before[at] + 1, row[-1] + 1, before[at - 1] + (letter != wanted))
            if at > 1 and place > 1 and letter == other[at - 2] and one[place - 2] == wanted:
                least = min(least, two_before[at - 2] + 1)
            row.append(least)
    return row[-1]


def _note(old: str, new: str, told: bool) -> None:
    """For people alone: a program that still says the old word is not disturbed."""
    if told and sys.stderr.isatty():
        click.echo(f"note: '{old}' is now '{new}'", err=True)
