"""Names in a task folder that are never tasks: hidden files, editors' leftovers, and the copies
that programs leave.

One table for each kind. Drafts are passed over in silence, since they come and go while people
work. Copies are told of once: the person should look at them, and a task that only happens to have
such a name should get another one.
"""

from __future__ import annotations

import re
from functools import lru_cache

from orchestrator.patterns import regex

SUFFIXES = (".yaml", ".yml", ".md")
NOTE = ".error.md"  # what is wrong with a file in the inbox, beside it

# Beginnings and ends of whole names.
DRAFTS: tuple[tuple[str, str], ...] = (
    (r"[._#].*", "hidden, or a draft"),
    (r".*~", "an editor's backup"),
    (r".*\.(?:tmp|temp|sw[a-z]|bak|orig|rej)", "what editors and patches leave"),
    (r".*\.(?:part|partial|crdownload|download|filepart)", "not yet downloaded"),
    (r"sed\w{6}|4913", "what sed -i and vim write for a moment"),
    (r".*\.error\.md", "a note by orchestrator"),
    (r".*\.(?:reply(?:\.\d+)?|answer|conflict)\.md", "words for an agent, or about its work"),
)

# The name without its suffix.  Each asks for a marker and for what programs put behind it (a date,
# a process id, brackets), so that words of ordinary ids and titles are left alone.  Names with
# spaces or brackets are no ids: none of them ever runs.
COPIES: tuple[tuple[str, str], ...] = (
    (r".*[._ -]sync-conflict-\d{8}-\d{6}.*", "Syncthing keeps both sides of a conflict"),
    (r".*[ (._-]conflicted[ ._-]copy.*", "a sync program keeps both sides of a conflict"),
    (r".*[.~ ](?:case[ -]?)?conflict(?:s|ed)?(?:[-_. ]?\d+.*)?", "a sync program left it"),
    (r".*[_-]conflict(?:ed)?[-_ ]\d{4}-?\d\d-?\d\d.*", "a sync program keeps both sides"),
    (r".*[._]variant-[0-9a-f]{2,}", "a sync program keeps both sides of a conflict"),
    (r".*[._](?:BACKUP|BASE|LOCAL|REMOTE|MERGED|OURS|THEIRS)[._]\d+", "git mergetool left it"),
    (r"(?-i:.*\.(?:BACKUP|BASE|LOCAL|REMOTE|MERGED|OURS|THEIRS))", "a merge tool left it"),
    (r".*\.(?:orig|rej|bak|bkp|backup|save|old)(?:[-_.]?\d+.*)?", "a program left it as a backup"),
    (r".*\.(?:te?mp|sw[op]|part|partial|crdownload)(?:[-_.]?\d\w*)?", "it is not finished"),
    (r".*~(?:\d+~?|[A-Za-z][\w/.-]*)?", "a backup, or one side of a merge"),
    (r".* - (?:copy|kopie|copie|copia)(?: ?\(?\d+\)?)?", "a file manager made it"),
    (r"(?:copy|kopie|copie|copia)(?: \(?\d+\)?)? (?:of|von|de|di) .*", "a file manager made it"),
    (r".*\(\d{1,3}\)", "a browser or a file manager numbers copies so"),
    (
        r".*\((?:[^()]*\W)?(?:case |sf)?(?:conflict|conflit|conflicto|conflitto)\b[^()]*\)",
        "a sync program left it",
    ),
    # The names that Windows gives to computers; an id that a person chooses has none.
    (
        r"(?-i:.*-(?:DESKTOP-[A-Z0-9]{7}|LAPTOP-[A-Z0-9]{8}|WIN-[A-Z0-9]{11})(?:-\d+)?)",
        "OneDrive keeps both sides of a conflict",
    ),
    (r".*\(in konflikt [^()]*\)", "a sync program left it"),
)
# Every one of them has one of these: most names are told from copies by that alone.
SIGNS = tuple(
    " |(|~|conflict|variant-|backup|base|local|remote|merged|ours|theirs"
    "|-desktop-|-laptop-|-win-|.orig|.rej|.bak|.bkp|.save|.old|.tmp|.temp|.sw|.part|.crdownload".split(
        "|"
    )
)

# Nearly all names: no sign of a copy is in them.
_ORDINARY = regex(r"(?!.*(?:onflict|-(?:DESKTOP|LAPTOP|WIN)-))[A-Za-z0-9][A-Za-z0-9-]*\.ya?ml\Z")
_DRAFT = regex("|".join(f"(?:{pattern})" for pattern, _ in DRAFTS), re.S)
_COPY = regex("|".join(f"(?:{pattern})" for pattern, _ in COPIES), re.S | re.I)


def stem_of(name: str) -> str:
    """The id in the name of a task file; empty if the name is not one of a task file."""
    for suffix in SUFFIXES:
        if name.endswith(suffix):
            return name[: -len(suffix)]
    return ""


def is_draft(name: str) -> bool:
    """Whether a file of this name is never a task: a draft, or a copy that a program left."""
    if _ORDINARY.match(name):  # there may be very many
        return False
    return _is_draft(name) or is_copy(name)


def _is_draft(name: str) -> bool:
    if name.endswith((".yaml", ".yml")):  # nearly all names: only the first character tells
        return name[0] in "._#"
    return bool(_DRAFT.fullmatch(name))


@lru_cache(4096)  # it is asked several times of the name of each task that runs
def is_copy(name: str) -> bool:
    """Whether this is the name of a task file of which a program has left a copy."""
    stem = stem_of(name)
    low = stem.lower()
    return (
        any(sign in low for sign in SIGNS) and bool(_COPY.fullmatch(stem)) and not _is_draft(name)
    )


def copy_of(name: str) -> str:
    """Why `is_copy` takes it for one, in words; empty if it does not."""
    if not is_copy(name):
        return ""
    stem = stem_of(name)
    return next(why for pattern, why in COPIES if re.fullmatch(pattern, stem, re.S | re.I))


# What lies beside a task has the task's id and one of these behind it.
BESIDE = (".reply", ".conflict", ".error", ".cancel", ".answer")
_REPLY = regex(r"(?P<id>.+?)\.reply(?:\.\d{1,2})?(?:\.md)?", re.S)


def replied_to(name: str) -> str:
    """The id of the task for whose agent a file of this name has words; empty if it is no such
    file."""
    found = _REPLY.fullmatch(name) if ".reply" in name and name[0] not in "._#" else None
    return found["id"] if found else ""


def problem(task_id: str) -> str:
    """Why no task is named so, in words that follow "the id "; empty if one may be."""
    if task_id.endswith(BESIDE):
        ending = task_id[task_id.rindex(".") :]
        return f"ends with {ending}: such names are for files beside a task"
    why = copy_of(f"{task_id}.yaml")
    return f"looks like a copy: {why}; such files are never run" if why else ""
