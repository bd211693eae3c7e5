"""Whether a text tells that something has happened, or only speaks of it.

``usage limit reached`` is a failure. "The test 'usage limit reached' passes", "if you hit your
usage limit", "not your usage limit" and ``--usage-limit`` are words about one. Asked of a place in
a text: the match of a pattern.
"""

from __future__ import annotations

import re

from orchestrator.patterns import regex

NEAR = 300  # characters of a line, on each side of a place, that can change what it says

# A quantity near a limit, or a part of one, is no limit that was met.
_PART_OF = regex(
    r"(?:\b(?:approaching|nearing|near|close to|far from|below|within|under|towards?|remaining"
    r" (?:of|in|until|before)|left (?:of|in|until|before)|before (?:you )?(?:hit|reach)(?:ing)?)"
    r"|(?<!\d)(?<!\d[.,])(?:\d{1,2})(?:\.\d+)? ?%(?: used)?"
    r" of)\s+(?:(?:the|your|its|our|a|an|this)\s+){0,2}(?:\S+\s+){0,2}?[\"'“‘(]?$",
    re.IGNORECASE,
)
# The words in a name: of a file, a test, a variable, an option.  What an API calls its errors is no
# such name.
_NAME_BEFORE = regex(r"[A-Za-z0-9_/.\\]$|(?:^|[\s\"'`=])--?$")
_ERROR_AFTER = regex(r"_?(?:Error|Exception)", re.IGNORECASE)
_NAME_AFTER = regex(
    r"\.[a-z]{1,5}\b|ers?\b|_(?!error|exceeded|reached|hit)\w|::|\(\)",
    re.IGNORECASE,
)
# A file and a line of it, before a number: ``src/limits.py:429``.
_PLACE_BEFORE = regex(r"\.[a-z]{1,5}:$", re.IGNORECASE)
# A line that tells of a mistake in a program, or of a test: its words are about code.
_OF_CODE = regex(
    r"\b(?:(?:Type|Reference|Syntax|Name|Attribute|Key|Index|Import|ModuleNotFound|FileNotFound|Assertion|Unbound|ZeroDivision|Recursion|Indentation|Unicode\w*)Error\b"
    r"|ENOENT|EACCES|EDQUOT|EISDIR|Cannot find (?:module|name|package)|No module named|no such"
    r" (?:file|module)|cannot (?:open|read|find) \S*[./]"
    r"|(?:expected|expects?|assert\w*|should (?:be|have|equal)|toBe|to"
    r" equal)\b.{0,40}\b\d{3}\b|(?:FAILED|PASSED|passed)\s*$|panicked at)|^\s*[✓✔✗✘×√] |\(\d+"
    r" ?ms\)\s*$"
    # what a test expected, a line of a test's report, what a compiler or a checker of settings says
    r"|\b[Ee]xpect(?:ed|s)\b.{0,80}\b(?:but|got|received|to"
    r" (?:contain|equal|include|match|show)|actual)\b|\bassert\b.{0,80}(?:[=!]=| in )|^\s*(?:not"
    r" )?ok \d|^E {2,}|^(?:---|===) (?:FAIL|PASS|RUN)"
    r"|\berror(?: TS\d+|\[E\d+\])|\b(?:[Cc]onfig(?:uration)? error|[Ii]nvalid"
    r" (?:config|setting|option)|[Uu]n(?:known|recognized)"
    r" (?:option|argument|flag|key|field)|(?:Type|Value|Zod|Validation)?ValidationError)",
)
# A line about the machine: its disks and its memory have quotas too.
_OF_MACHINE = regex(
    r"\b(?:disks?|inodes?|file ?systems?|heap|memory|RAM|CPU|swap|storage)\b", re.IGNORECASE
)

_LIGHT = "a|an|the|this|that|your|our|its|any|by|about|because|of|due|to|related|caused|hit|hitting|reach|reached|exceeded|under|over|been|being|yet|at|is|was|in|longer|really|actually|mean|means|meant|that|you|we|it|have|has|do|does|did|with|from"
# What might be, will be, or is written about, has not happened: "if you hit your usage limit",
# "handles rate limits".
_SUPPOSED_BEFORE = regex(
    r"\b(?:if|when|whenever|in case(?:"
    r" of)?|unless|should|once|before|lest|may|might|could|will|soon|about to|going"
    r" to|handl(?:es?|ed|ing)(?:"
    r" of)?|supports?|implement(?:s|ed)?|renamed?|add(?:s|ed)?|wrote|writes?|updated?|documents?|describes?|mentions?|shows?|tests?"
    rf" (?:of|for)|what)\s+(?:(?:{_LIGHT})\s+){{0,6}}[\"'“‘(]?$",
    re.IGNORECASE,
)
_RESETS_AFTER = regex(r"\s+(?:reset|renew|refresh|clear|lift|is over|ends)", re.IGNORECASE)
_SUPPOSED_AFTER = regex(
    r"s?\s+(?:will|may|might|could)\s+(?:soon\s+)?(?:be\s+)?(?:hit|reached|exceeded)\b",
    re.IGNORECASE,
)
_DENIED_BEFORE = regex(
    r"(?:\b(?:not|no|never|nor|neither|0|zero|without(?: any)?|cannot|rather than|instead"
    rf" of|unrelated to|nothing to do with)|n['’]t)\s+(?:(?:{_LIGHT})\s+){{0,6}}[\"'“‘(]?$",
    re.IGNORECASE,
)
_DENIED_AFTER = regex(
    r"s?\s+(?:(?:is|was|are|were|has|have|had|did|does|do)\s*)?(?:not|never|n['’]t)\s+(?:been |yet"
    r" )*(?:hit|reached|exceeded|the|a|your|used|involved|to blame|responsible)\b"
    r"|s?\s+(?:is|was|are|were|has|have|had|did|does|do)n['’]t\b|s?\s+(?:is|are|was|were)"
    r" (?:fine|okay|ok|far|high enough|unlimited|unchanged)\b|s?\s+(?:(?:is|are|was|were|has|have)"
    r" )?(?:been"
    r" )?(?:reset\b|raised|increased|lifted|restored|removed|changed|doubled|extended)|s?\s+(?:table|banner|page|section|panel|label|logic|handling|checks?|tests?|docs)\b"
    r"|\w*(?: (?:is"
    r" )?(?:reached|hit|exceeded))?[\"']?\s*[:=]\s*[\"']?(?:unlimited|none|null|no|false|off|\d{1,2}(?:\.\d+)?"
    r" ?%|\d+ (?:of|/) \d+ (?:remaining|left))(?!\w)"
    r"|[-_ ]remaining[\"']?\s*[:=]\s*[\"']?[1-9]",
    re.IGNORECASE,
)


def told(text: str, found: re.Match[str]) -> bool:
    """Whether the text says that this has happened, and does not only speak of it."""
    before = text[max(0, found.start() - 80) : found.start()]
    line, _ = _line(text, found)
    error = _ERROR_AFTER.match(text, found.end())
    named = (_NAME_BEFORE.search(before) or _NAME_AFTER.match(text, found.end())) and not error
    beside = _PART_OF.search(before) or _PLACE_BEFORE.search(before) or _OF_CODE.search(line)
    about = beside or _OF_MACHINE.search(line) or _supposed(text, before, found)
    return not (named or about or _denied(text, found) or _over(text, before, found))


def _line(text: str, found: re.Match[str]) -> tuple[str, int]:
    """The line of the place, as far as it is near, and where that begins in the text."""
    begin = max(text.rfind("\n", 0, found.start()) + 1, found.start() - NEAR)
    end = text.find("\n", found.start())
    return text[begin : min(end if end >= 0 else len(text), found.end() + NEAR)], begin


def _supposed(text: str, before: str, found: re.Match[str]) -> bool:
    """Whether the text only says what might be. "Wait until your limit resets" says that it is
    so."""
    if _RESETS_AFTER.match(text, found.end()):
        return False
    return bool(_SUPPOSED_BEFORE.search(before) or _SUPPOSED_AFTER.match(text, found.end()))


def _denied(text: str, found: re.Match[str]) -> bool:
    """Whether the text says that it is *not* so: ``not your usage limit``, ``the rate limit was not
    reached``."""
    before = text[max(0, found.start() - 80) : found.start()]
    return bool(_DENIED_BEFORE.search(before) or _DENIED_AFTER.match(text, found.end()))


# What is over, or was only worked on: "the rate limit error is gone", "recovered from a rate
# limit".
_OVER_BEFORE = regex(
    r"\b(?:recover(?:ed|ing)? from|surviv(?:ed|ing)|got"
    r" past|fix(?:ed|es|ing)?|resolv(?:ed|es|ing)|reproduc(?:ed|es|ing)|verif(?:ied|ies|ying)|check(?:ed|s|ing)?"
    r" that|confirm(?:ed|s|ing) that"
    r"|succe(?:eded|ssfully \w+) (?:\w+ ){0,2}?after|(?:searched|searching|looked|looking|grepped)"
    r" for|worked"
    r" around|(?:message|text|words?|issue|ticket|bug|paper|section|chapter|question|story|post|page|docs?|documentation|comment|commit|notes?|test)"
    r" (?:about|on|of|for))\s+(?:[^\s.;:!?]+\s+){0,6}?[\"'“‘`(]?$",
    re.IGNORECASE,
)
_OVER_AFTER = regex(
    r"(?:ed|s)?[\"'”’`]?(?: (?:is|was|has been))?(?: (?:reached|hit|exceeded))?[\"'”’`]?(?:"
    r" (?:errors?|messages?|texts?|warnings?|notices?|problem|issue|case|string|event))?[\"'”’`]?,?"
    r"\s+(?:(?:is|are|was|were|has|have|had|been|being|now|all|also|again|correctly|properly|no|does|did|not|longer)"
    r" ){0,4}?"
    r"(?:gone|over|passed|past|cleared|lifted|ended|fixed|resolved|handled|caught|tested|covered|documented|displayed|shown|rendered|reported"
    r" correctly|works|working|passes|passing|succeed(?:s|ed)|appears?|happens?|occurs?|there|reproducible|(?:must|should|has"
    r" to|needs to) be)\b",
    re.IGNORECASE,
)


def _over(text: str, before: str, found: re.Match[str]) -> bool:
    """Whether the text says that it is over, or that somebody worked on it."""
    return bool(_OVER_BEFORE.search(before) or _OVER_AFTER.match(text, found.end()))


_OPENS = regex(r"(?<![\w\"'“‘`])([\"“‘`]|'(?=\w))")
_CLOSING = {"“": "”", "‘": "’"}
# Whoever says, returns or names an error quotes it: that is no mere mention.
_SAYS = regex(
    r"\b(?:sa(?:id|ys|ying)|return(?:s|ed)?|respon(?:ded|ds|se)|repl(?:ied|ies|y)|answer(?:ed|s)?|report(?:s|ed)|with|errors?|exception|message|reason|because|received|got|gave|gives|threw|is|was|code|type|status|kind|by)\s+$",
    re.IGNORECASE,
)
_PROSE = regex(r"[A-Za-z]\s+$")
_GOES_ON = regex(r"\s+(?!(?:was|is|were|are) (?:returned|received|sent|thrown|raised))[a-z]+\b")


def quoted(text: str, found: re.Match[str]) -> bool:
    """Whether the place is inside a quotation that a sentence only names: the test 'usage limit
    reached' passes. What stands behind a colon, or is said by somebody, is no such quotation."""
    line, start = _line(text, found)
    first, last = found.start() - start, found.end() - start
    for mark in _OPENS.finditer(line):
        if mark.start() >= first:
            break
        closing = re.compile(re.escape(_CLOSING.get(mark[1], mark[1])) + r"(?!\w)")
        end = closing.search(line, mark.end())
        if end is None or end.start() < last:
            continue
        ahead = line[: mark.start()]
        if not ahead.strip():
            return _GOES_ON.match(line, end.end()) is not None
        return bool(_PROSE.search(ahead)) and not _SAYS.search(ahead)
    return False
