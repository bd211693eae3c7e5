"""Accepting a run: its tasks appear in the inbox exactly once, wherever the watcher is killed in
between.

1. the task files are written into ``.state/tmp``, fsynced, and the folder is renamed to ``.state/expanding/<run>``;
2. the run file moves from inbox/ to runs/ (the commit point); where it says ``each:`` it is written there anew, with the
   files in place of the pattern, and what lay in the inbox goes in step 3;
3. every file in ``expanding/<run>`` is renamed into the inbox; the folder is removed when it is empty.

Before step 2 a crash or a disk that refuses leaves nothing behind but the folder, which is thrown
away; after it, what is still in the folder has not been placed yet, and nothing else is: `complete`
repeats step 3.

All of it happens under a lock on ``.state/expanding``: two watchers that do not see each other
(somebody removed the watcher's lock) would otherwise throw away what the other has staged.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.errors import Taken
from orchestrator.files import runfacts, runrecords, scan
from orchestrator.files.layout import Layout
from orchestrator.files.requests import Content, Unreadable, read
from orchestrator.model import ids
from orchestrator.model.contest import Contest
from orchestrator.model.run import Run
from orchestrator.model.units import plural
from orchestrator.store import atomic, contests, freezing, smallfiles
from orchestrator.store.claiming import Vanished
from orchestrator.store.transitions import Store
from orchestrator.store.trusting import fact_of
from orchestrator.store.yamltext import task_text

MADE_BY = ".instance"  # in each folder: the instance of the work directory that staged it
# the file of the inbox that is written anew in runs/: its name and the digest of its bytes
SOURCE = ".source"
CONTEST = ".contest"  # the ids of the tasks that compete, in the order of their file
OURS = (MADE_BY, SOURCE, CONTEST)


def accept(store: Store, run: Run, name: str, content: Content) -> list[str]:
    """Accept the run in ``inbox/<name>``; the ids of the tasks that were placed.

    Raises `Taken` if an id of its is in use, and `Vanished` if the file is not the one that was
    read, or if another process expands a run at this moment: look again.
    """
    with _alone(store.layout) as alone:
        if not alone:
            raise Vanished
        _accept(store, run, name, content)
    return list(run.tasks)


def remember(layout: Layout, run: Run, info: os.stat_result) -> None:
    """Spare the next watcher the reading of a large run, whose file is this one. OSError if the
    disk refuses."""
    if info.st_size < runfacts.LARGE:
        return
    there = {f"{ids.key(known)}.json" for known, _ in runrecords.listed(layout)}
    for name in set(scan.names(runfacts.folder(layout))) - there:
        atomic.remove(f"{runfacts.folder(layout)}/{name}")
    path = runfacts.path_of(layout, run.id)
    smallfiles.replace(layout, path, runfacts.facts(run, info), "facts")


def _accept(store: Store, run: Run, name: str, content: Content) -> None:
    layout = store.layout
    source, target = f"{layout.folder('inbox')}/{name}", f"{layout.folder('runs')}/{name}"
    if not os.path.lexists(source):  # withdrawn, or accepted by another since it was read
        raise Vanished
    if run.id in {known for known, _ in runrecords.listed(layout)}:
        raise Taken(f"there is already a run '{run.id}'", "rename this file")
    for task_id in run.tasks:
        store.check_free(task_id)
    _stage(store, run, f"{name}\n{content.sha256}" if run.listed else "")
    try:
        if run.listed:
            _write_anew(layout, run, source, target, content)
        else:
            atomic.move(source, target)
    except FileNotFoundError:
        atomic.remove_tree(layout.expanding(run.id))
        raise Vanished from None
    except FileExistsError:
        atomic.remove_tree(layout.expanding(run.id))
        raise Taken(f"runs/{name} already exists", "rename this file") from None
    if not run.listed and os.lstat(target).st_ino != content.stat.st_ino:
        atomic.move(target, source)
        atomic.remove_tree(layout.expanding(run.id))
        raise Vanished
    _place(store, run.id)


@contextmanager
def _alone(layout: Layout) -> Iterator[bool]:
    """Whether no other process expands a run, and none will while this lasts; the kernel frees it
    if we are killed."""
    fd = os.open(f"{layout.state}/expanding", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(fd)


def _write_anew(layout: Layout, run: Run, source: str, target: str, content: Content) -> None:
    """The run file with the files of its patterns, in runs/. FileNotFoundError if the one that was
    read is gone."""
    if os.lstat(source).st_ino != content.stat.st_ino:
        raise FileNotFoundError
    text = freezing.frozen(content.raw, source.endswith(".md"), run.listed)
    smallfiles.put(layout, target, text, "run", anew=True)


def _stage(store: Store, run: Run, source: str) -> None:
    folder = smallfiles.scratch(store.layout, "expand")
    atomic.remove_tree(store.layout.expanding(run.id))
    os.mkdir(folder)
    texts = {f"{folder}/{name}.yaml": task_text(body) for name, body in run.tasks.items()}
    atomic.write_many({path: text.encode() for path, text in texts.items()})
    atomic.write_temporary(f"{folder}/{MADE_BY}", store.trust.instance.encode())
    if source:
        atomic.write_temporary(f"{folder}/{SOURCE}", os.fsencode(source))
    if run.contest:
        atomic.write_temporary(f"{folder}/{CONTEST}", "\n".join(run.members).encode())
    atomic.sync_folder(folder)
    os.rename(folder, store.layout.expanding(run.id))
    atomic.sync_folder(os.path.dirname(store.layout.expanding(run.id)))


def _place(store: Store, run_id: str) -> None:
    """Step 3, as often as it takes. Events come before what they tell of; told twice, they have the
    same id."""
    layout = store.layout
    folder = layout.expanding(run_id)
    staged = sorted(name for name in scan.names(folder) if name not in OURS)
    atomic.sync_folder(layout.folder("runs"))
    if os.path.exists(f"{folder}/{CONTEST}"):
        members = tuple(_lines(f"{folder}/{CONTEST}"))
        contests.write(layout, Contest(run_id, members))
        atomic.remove(f"{folder}/{CONTEST}")
    store.log.commit_and_wait(
        [
            store.log.event(
                "run_created",
                run_id,
                0,
                run_id=run_id,
                phase="submit",
                summary=plural(len(staged), "task"),
            ),
            *(
                store.log.event(
                    "task_submitted",
                    name.removesuffix(".yaml"),
                    0,
                    task_id=name.removesuffix(".yaml"),
                    run_id=run_id,
                    phase="submit",
                    status="inbox",
                    summary=f"by run {run_id}",
                )
                for name in staged
            ),
        ]
    )
    store.vouch(fact_of(name.removesuffix(".yaml"), f"{folder}/{name}") for name in staged)
    for name in staged:
        try:
            atomic.move(f"{folder}/{name}", f"{layout.folder('inbox')}/{name}")
        except FileExistsError:  # somebody made a file of this name in the meantime: theirs stays
            os.unlink(f"{folder}/{name}")
    atomic.sync_folder(layout.folder("inbox"))
    _drop_source(layout, folder)
    atomic.remove(f"{folder}/{MADE_BY}")
    os.rmdir(folder)


def _lines(path: str) -> list[str]:
    return read(path).raw.decode().split("\n")


def _drop_source(layout: Layout, folder: str) -> None:
    """Remove the file of the inbox that was written anew, unless it is another one by now."""
    try:
        name, digest = os.fsdecode(read(f"{folder}/{SOURCE}").raw).split("\n")
    except (OSError, Unreadable, ValueError):
        return
    path = layout.file("inbox", os.path.basename(name))
    try:
        if read(path).sha256 == digest:
            atomic.remove(path)
    except (OSError, Unreadable):
        pass
    atomic.remove(f"{folder}/{SOURCE}")


def _ours(store: Store, run_id: str) -> bool:
    """Whether this folder was staged in this very work directory. An empty one is what a crash left
    of a placed run."""
    folder = store.layout.expanding(run_id)
    try:
        return read(f"{folder}/{MADE_BY}").raw.decode() == store.trust.instance
    except (OSError, Unreadable, UnicodeDecodeError):
        return not scan.names(folder)


def complete(store: Store) -> list[str]:
    """Finish, or throw away, what a killed watcher left half accepted; the runs that were
    completed."""
    layout = store.layout
    if not scan.names(f"{layout.state}/expanding"):
        return []
    done = []
    with _alone(layout) as alone:
        accepted = {run_id for run_id, _ in runrecords.listed(layout)}
        for run_id in sorted(scan.names(f"{layout.state}/expanding")) if alone else ():
            if not _ours(store, run_id):
                continue  # git or a copy brought it: what it says was never accepted here
            if run_id in accepted:
                _place(store, run_id)
                done.append(run_id)
            else:
                atomic.remove_tree(layout.expanding(run_id))
    return done
