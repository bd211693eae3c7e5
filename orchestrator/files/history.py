"""Whether git has had what a file says: the very bytes, at the very path, in the history of any of
its refs.

The index tells only what git tracks *now*. Git writes files that it does not track (``restore
--source``, a pull that was broken off or undone by ``reset``, ``rm --cached``, an index of
somebody's own); their bytes are in its history all the same. What refs said before counts as well,
as their logs have it: a pull that was undone, and whose branch was rewritten since. So does every
other commit that git still keeps (a bundle that was unpacked, the other side of a fetch before the
last). The stash does not count, nor what looks like one: it has a person's own files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from orchestrator.files import git, opening, scan
from orchestrator.files.scan import names
from orchestrator.files.text import lines_of
from orchestrator.libraries import later
from orchestrator.patterns import bytes_regex, regex

if TYPE_CHECKING:
    import hashlib
else:
    hashlib = later("hashlib")

_PACK_HEAD = b"\xfftOc\0\0\0\x02"
_FANOUT = 256 * 4  # bytes
_IDENT = bytes_regex(rb"\$Id: [^$\n]*\$")
_ENCODING, _FILTER = (
    b"working-tree-encoding",
    b"filter",
)  # attributes by which a file is other bytes than its blob
_MOST_ATTRIBUTES = 1 << 20  # bytes
_MOST_TREES = 50
_MOST_AT_PATH, _MOST_LINES_END = 1000, 2 << 20  # blobs that are compared, and bytes of one
# How the commits of a stash begin, of one that was given a name, too.
_STASHED = bytes_regex(rb"(WIP on|On) (\(no branch\)|[^ ]*): ")
_BESIDE = tuple(
    bytes_regex(what + rb" on (\(no branch\)|[^ ]*): ") for what in (b"index", b"untracked files")
)
_MOST_LOGS, _MOST_MOVES = 1000, 2000  # logs of refs, and lines of each, that are read
_OID = regex(r"[0-9a-f]{40}|[0-9a-f]{64}")
_GLOB = regex(r"[*?[\\]")
_MOST_STORES = 16  # object stores that borrow from one another


def blobs(reader: git.Reader, inside: str, data: bytes) -> list[str]:
    """The ids of those blobs that the history has at the path ``inside`` the checkout, and that git
    would write as ``data``.

    Costs no process unless the repository has such an object.  Raises `git.Unclear`.
    """
    there = [oid for oid in _all_ids(reader, inside, data) if _may_have(reader.repository, oid)]
    found = [oid for oid in there if _in_history(reader, inside, oid)]
    return found or (_alike(reader, inside, data) if _is_converted(data) else [])


def has(reader: git.Reader, inside: str, oid: str) -> bool:
    """Whether the history has this blob at the path.  Raises `git.Unclear`."""
    return _in_history(reader, inside, oid)


def has_name(reader: git.Reader, inside: str) -> bool:
    """Whether the history has anything at the path.  Raises `git.Unclear`."""
    return _logged(reader, inside, _tips(reader)[0])


def unnamed(reader: git.Reader, inside: str, data: bytes) -> list[str]:
    """The ids of blobs that say this and that no commit has at the path, no stash either: somebody
    added them, or a merge wrote them.  Raises `git.Unclear`."""
    there = [oid for oid in _all_ids(reader, inside, data) if _may_have(reader.repository, oid)]
    return [
        oid
        for oid in there
        if not reader.ask("cat-file", "-e", oid, codes=(0, 1, 128)).code
        and not _in_history(reader, inside, oid)
        and not _is_stashed(reader, inside, oid)
    ]


def bases(reader: git.Reader, inside: str) -> tuple[str, str]:
    """What HEAD has at the path, and what the last commit that was not made here left there: a
    person's own commits since then were made of that.  Empty is none.  Raises `git.Unclear`."""
    asked = ("log", f"-n{_MOST_AT_PATH}", "--format=%H", "HEAD", "--", f":(literal){inside}")
    logged = reader.ask(*asked, codes=(0, 128)).out.decode("ascii").split()
    made = _committed(reader.repository)
    foreign = next((commit for commit in logged if commit not in made), "")
    return _blob_at(reader, "HEAD", inside), foreign and _blob_at(reader, foreign, inside)


def _blob_at(reader: git.Reader, commit: str, inside: str) -> str:
    listed = reader.ask(
        "ls-tree", "-z", "--full-tree", commit, "--", f":(literal){inside}", codes=(0, 128)
    ).out
    words = listed.split(b"\t")[0].split()
    return words[2].decode("ascii") if words[1:2] == [b"blob"] else ""


def _committed(repository: git.Repository) -> set[str]:
    """The commits that were made here, as the logs of HEAD and branches say, which git never
    transfers."""
    found = set()
    for line in _log_lines(repository):
        facts, _, said = line.partition("\t")
        if said.startswith(("commit: ", "commit (initial)", "commit (amend)")):
            found.add(facts.split(" ", 2)[1])
    return found


def brought(repository: git.Repository, inside: str, data: bytes) -> bool:
    """Whether there are such `blobs`, or the index has one.  Raises `git.Unclear`."""
    said = _attributes(repository, inside)
    converted = _ENCODING in said or _FILTER in said or _is_converted(data)
    if not converted and not any(_may_have(repository, oid) for oid in _ids(data)):
        return False
    with git.reading(repository) as reader:
        if _FILTER in said and _is_filtered(reader, inside):
            return has_name(reader, inside)
        return _in_index(reader, inside, data) or bool(blobs(reader, inside, data))


def _attributes(repository: git.Repository, inside: str) -> bytes:
    """What the files of attributes that may concern a path say."""
    folders = inside.split("/")[:-1]
    below = ["/".join((repository.folder, *folders[:n])) for n in range(len(folders) + 1)]
    texts = []
    for path in (*(f"{folder}/.gitattributes" for folder in below), f"{repository.common}/info/attributes"):  # fmt: skip
        try:
            texts.append(_read(path, _MOST_ATTRIBUTES))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            texts.append(_ENCODING + _FILTER)  # it may say so: git is asked
    return b"\n".join(texts)


def _all_ids(reader: git.Reader, inside: str, data: bytes) -> list[str]:
    """`_ids`, and what git makes of these bytes by the encoding that the path has."""
    found = _ids(data)
    if _ENCODING in _attributes(reader.repository, inside):
        made = reader.ask("hash-object", "--stdin", f"--path={inside}", codes=(0, 128), stdin=data)
        found += made.out.decode("ascii").split()
    return found


def _is_filtered(reader: git.Reader, inside: str) -> bool:
    """Whether a program of the person's makes the file of what git has: nobody else can tell what
    that comes to."""
    said = reader.ask("check-attr", "-z", "filter", "--", inside).out.split(b"\0")
    return said[2:3] not in ([b"unspecified"], [b"unset"])


def _ids(data: bytes) -> list[str]:
    """What git calls these bytes, and what it may have written as them: with other line ends, or an
    ``$Id$`` filled in."""
    plain = data.replace(b"\r\n", b"\n")
    texts = dict.fromkeys((data, plain, _IDENT.sub(b"$Id$", data), _plain(data)))
    return [
        digest(b"blob %d\0" % len(text) + text).hexdigest()
        for text in texts
        for digest in (hashlib.sha1, hashlib.sha256)
    ]


def _plain(data: bytes) -> bytes:
    """Without what git may have added as it wrote a file."""
    return _IDENT.sub(b"$Id$", data.replace(b"\r\n", b"\n"))


def _is_converted(data: bytes) -> bool:
    """Whether other blobs than `_ids` may have become these bytes: with some of the line ends, or
    another ``$Id$``."""
    return b"\r\n" in data or _IDENT.search(data) is not None


def _alike(reader: git.Reader, inside: str, data: bytes) -> list[str]:
    """The blobs that the history has at the path, and that differ from these bytes by line ends and
    ``$Id$`` alone."""
    logged = reader.ask(
        *("log", "--exclude=refs/stash", "--all", "--stdin", "--full-history", "-m", "--format="),
        *("--raw", "--no-abbrev", "-z", f"-n{_MOST_AT_PATH}", "--", f":(literal,icase){inside}"),
        stdin="\n".join(_tips(reader)[0]).encode(),
    )
    facts = [item.split() for item in logged.out.split(b"\0") if item.startswith(b":")]
    oids = dict.fromkeys(os.fsdecode(words[3]) for words in facts if len(words) == 5)
    told = reader.ask("cat-file", "--batch-check", stdin="\n".join(oids).encode()).out.splitlines()
    sizes = [line.split() for line in told]
    small = {
        os.fsdecode(words[0])
        for words in sizes
        if words[1:2] == [b"blob"] and int(words[2]) <= _MOST_LINES_END
    }
    plain = _plain(data)
    return [
        oid
        for oid in oids
        if oid in small and _plain(reader.ask("cat-file", "blob", oid).out) == plain
    ]


def _in_index(reader: git.Reader, inside: str, data: bytes) -> bool:
    oids = {oid for _, oid in reader.entries(f":(literal,icase){inside}")}
    return not oids.isdisjoint(_all_ids(reader, inside, data))


def _in_history(reader: git.Reader, inside: str, oid: str) -> bool:
    if reader.ask("cat-file", "-e", oid, codes=(0, 1, 128)).code:
        return False
    commits, trees = _tips(reader)
    if _logged(reader, inside, commits, f"--find-object={oid}"):
        return True
    if any(_in_tree(reader, tree, inside, oid) for tree in trees):
        return True
    return _is_kept(reader, inside, oid)


def _is_kept(reader: git.Reader, inside: str, oid: str) -> bool:
    """Whether a commit that git has, and that no ref leads to, brought this blob to the path; but
    for what looks like a stash. That takes git a second for each 100,000 objects, so a copy of a
    file that it tracks elsewhere is not asked about."""
    if f" {oid} ".encode() in reader.ask("ls-files", "-s", "-z").out:
        return False
    return _is_moved(reader, inside, oid) or _kept_by(reader, inside, oid)[0]


def _is_moved(reader: git.Reader, inside: str, oid: str) -> bool:
    """Whether a commit from elsewhere, which no branch here has, brought this blob under this file
    name to any folder: a merge that follows a renamed folder, or shifts a subtree, writes it
    here."""
    name = _GLOB.sub(r"\\\g<0>", os.path.basename(inside))
    found = reader.ask(
        *("log", "--ignore-missing", "--stdin", "--remotes", "--not", "--branches", "HEAD"),
        *("--full-history", "-m", "--format=%H", "-n1", f"--find-object={oid}"),
        *("--", f":(glob,icase)**/{name}"),
        stdin="\n".join(_fetched(reader.repository)).encode(),
    )
    return bool(found.out.strip())


def _is_stashed(reader: git.Reader, inside: str, oid: str) -> bool:
    """Whether a stash that no ref leads to but its own has this blob at the path."""
    return _kept_by(reader, inside, oid)[1]


def _kept_by(reader: git.Reader, inside: str, oid: str) -> tuple[bool, bool]:
    """Whether a commit that no ref leads to, but that of the stash, brought this blob to the path:
    one that belongs to no stash, and one that does."""
    form = "--batch-check=%(objecttype) %(objectname)"
    listed = reader.ask("cat-file", "--batch-all-objects", "--unordered", form).out.splitlines()
    commits = b"\n".join(line[7:] for line in listed if line.startswith(b"commit "))
    unnamed = ("log", "--stdin", "--exclude=refs/stash", "--not", "--all")
    logged = reader.ask(
        *(*unnamed, "--full-history", "-m", "--format=%H", f"--find-object={oid}"),
        *("--", f":(literal,icase){inside}"),
        stdin=commits,
    )
    found = set(logged.out.split())
    if not found:
        return False, False
    stashes = _stashes(reader.ask(*unnamed, "-z", "--format=%H %P%n%s", stdin=commits).out)
    return not found <= stashes, not found.isdisjoint(stashes)


def _stashes(logged: bytes) -> set[bytes]:
    """The commits that belong to whole stashes: what was changed, what was in the index then, and
    perhaps what git did not track. A name alone makes no stash."""
    facts: dict[bytes, tuple[list[bytes], bytes]] = {}
    for entry in logged.split(b"\0"):
        line, _, subject = entry.partition(b"\n")
        words = line.split()
        if words:
            facts[words[0]] = words[1:], subject
    found: set[bytes] = set()
    for commit, (parents, subject) in facts.items():
        beside = [facts.get(parent, ([], b"")) for parent in parents[1:]]
        shaped = [made for made, _ in beside] in ([parents[:1]], [parents[:1], []])
        named = all(name.match(said) for name, (_, said) in zip(_BESIDE, beside, strict=False))
        if shaped and named and _STASHED.match(subject):
            found.update((commit, *parents[1:]))
    return found


def _logged(reader: git.Reader, inside: str, commits: list[str], *which: str) -> bool:
    """Whether a commit of any ref, or one that leads to ``commits``, has changed the path in the
    way that ``which`` says."""
    found = reader.ask(
        *("log", "--exclude=refs/stash", "--all", "--stdin", "--full-history", "-m", "--format=%H"),
        *("-n1", *which, "--", f":(literal,icase){inside}"),
        stdin="\n".join(commits).encode(),
    )
    return bool(found.out.strip())


def _in_tree(reader: git.Reader, tree: str, inside: str, oid: str) -> bool:
    """Whether a tree has this blob at the path."""
    wanted = f"{oid}\t{inside}".casefold()
    listed = reader.ask("ls-tree", "-r", "-z", "--full-tree", tree).out.split(b"\0")
    return any(os.fsdecode(entry).casefold().endswith(wanted) for entry in listed)


def _tips(reader: git.Reader) -> tuple[list[str], list[str]]:
    """Commits that no ref leads to any more, and trees that stand where a commit is expected: a tag
    may be one."""
    before = dict.fromkeys((*_fetched(reader.repository), *_moved_from(reader.repository)))
    refs = reader.ask("for-each-ref", "--format=%(objecttype) %(*objecttype) %(refname)").out
    odd = [
        os.fsdecode(line.rpartition(b" ")[2])
        for line in refs.splitlines()
        if b"tree" in line.split()[:-1]
    ]
    asked = "".join(f"{name}^{{}}\n" for name in (*before, *odd))
    told = reader.ask("cat-file", "--batch-check", stdin=os.fsencode(asked)).out if asked else b""
    kinds = [line.split() for line in told.decode("utf-8", "replace").splitlines()]
    commits = [words[0] for words in kinds if words[1:2] == ["commit"]]
    trees = list(dict.fromkeys(words[0] for words in kinds if words[1:2] == ["tree"]))
    if len(trees) > _MOST_TREES:
        raise git.Unclear("too many of its refs are trees")
    return commits, trees


def _fetched(repository: git.Repository) -> Iterator[str]:
    """What was fetched last, also where no ref remembers it."""
    try:
        lines = opening.read_bytes(f"{repository.git_dir}/FETCH_HEAD").decode("ascii", "replace")
    except OSError:
        return
    for line in lines.splitlines()[:100]:
        oid = line.partition("\t")[0]
        if _OID.fullmatch(oid):
            yield oid


def _moved_from(repository: git.Repository) -> Iterator[str]:
    """Where HEAD and branches have been, as their logs say; the stash's is not among them."""
    for line in _log_lines(repository):
        oid = line.split(" ", 2)[1:2]
        if oid and _OID.fullmatch(oid[0]):
            yield oid[0]


def _log_lines(repository: git.Repository) -> Iterator[str]:
    """What the logs of HEAD and branches say, the last of each first."""
    paths = [f"{repository.git_dir}/logs/HEAD"]
    for kind in ("heads", "remotes"):
        walk = scan.walk(f"{repository.common}/logs/refs/{kind}")
        paths += [f"{folder}/{name}" for folder, _, names_ in walk for name in sorted(names_)]
    for path in paths[:_MOST_LOGS]:
        try:
            lines = lines_of(opening.read_bytes(path).decode("utf-8", "replace"))
        except OSError:
            continue
        yield from reversed(lines[-_MOST_MOVES:])


def _may_have(repository: git.Repository, oid: str) -> bool:
    """Whether an object may be there, from the names of files and the indexes of packs alone."""
    raw = bytes.fromhex(oid)
    for objects in _stores(repository):
        if os.path.lexists(f"{objects}/{oid[:2]}/{oid[2:]}") or not os.path.isdir(objects):
            return True  # where git looks for what a line of ``alternates`` names is its affair
        packs = (name for name in names(f"{objects}/pack") if name.endswith(".idx"))
        if any(_pack_may_have(f"{objects}/pack/{name}", raw) for name in packs):
            return True
    return False


def _stores(repository: git.Repository) -> list[str]:
    """The folders of objects: the repository's own, and those that it borrows from."""
    found = [f"{repository.common}/objects"]
    for objects in found:  # grows while it is walked
        try:
            text = os.fsdecode(_read(f"{objects}/info/alternates"))
        except FileNotFoundError:
            continue
        except OSError as error:
            raise git.Unclear(f"{objects} borrows from unknown others: {error.strerror}") from None
        for line in lines_of(text):
            path = os.path.realpath(os.path.join(objects, line))
            if line and not line.startswith("#") and path not in found:
                found.append(path)
        if len(found) > _MOST_STORES:
            raise git.Unclear(f"{objects} borrows from too many others")
    return found


def _read(path: str, most: int = opening.MOST) -> bytes:
    """A file of the repository's own; git follows a link there, and so does this.  OSError."""
    return opening.read_bytes(os.path.realpath(path), most)


def _pack_may_have(path: str, oid: bytes) -> bool:
    """Binary search in a pack's index; one of another format may have anything."""
    try:
        with opening.open_file(os.path.realpath(path)) as file:  # git follows links there
            if file.read(8) != _PACK_HEAD:
                return True
            counts = file.read(_FANOUT)
            first = oid[0]
            low = int.from_bytes(counts[4 * first - 4 : 4 * first], "big") if first else 0
            high = int.from_bytes(counts[4 * first : 4 * first + 4], "big")
            while low < high:
                middle = (low + high) // 2
                file.seek(8 + _FANOUT + middle * len(oid))
                found = file.read(len(oid))
                if found == oid:
                    return True
                if found < oid:
                    low = middle + 1
                else:
                    high = middle
    except OSError:
        return os.path.lexists(path)
    return False
