"""Many new tasks at once: each as safe as one alone, and the disk is waited for a few times
instead of a few times for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from orchestrator.errors import OrchestratorError, Refused, StoreFault, Taken
from orchestrator.files import owners
from orchestrator.model import ids
from orchestrator.model.status import Status
from orchestrator.model.units import plural, timestamp
from orchestrator.records import dataclass
from orchestrator.store import atomic, trusting
from orchestrator.store.transitions import Rehearsed, Store

AT_ONCE = 500  # tasks that become visible between two waits for the disk


@dataclass(slots=True)
class Submission:
    """A task to be, whose text somebody has validated. ``refused`` says why it was not placed, once
    that was tried."""

    task_id: str
    raw: bytes
    suffix: str
    folder: Status
    summary: str
    refused: OrchestratorError | None = None


def submit_all(store: Store, coming: Sequence[Submission], kind: str) -> None:
    """Place new tasks in their order, folder by folder, each with an event of this ``kind``. As
    `Store.submit` for each, but for what is raised: a `StoreFault` if the disk refuses, and then
    those before it are there.  In a rehearsal nothing is written."""
    for folder, found in groupby(coming, key=lambda item: item.folder):
        mine = list(found)
        for begin in range(0, len(mine), AT_ONCE):
            _place(store, folder, list(_free(store, mine[begin : begin + AT_ONCE])), kind)


def _free(store: Store, coming: Sequence[Submission]) -> Iterator[Submission]:
    """Those that may have their id."""
    taken: set[str] = set()
    for item in coming:
        try:
            if why := ids.problem(item.task_id):
                raise Refused(f"the id '{item.task_id}' {why}", "choose another name")
            if ids.key(item.task_id) in taken:
                raise Taken(f"there is already a task '{item.task_id}' in {item.folder}/")
            store.check_free(item.task_id)
            store.judged(item.task_id, item.folder)
        except Rehearsed:
            continue
        except Refused as error:
            item.refused = error
            continue
        taken.add(ids.key(item.task_id))
        yield item


def _place(store: Store, folder: Status, coming: list[Submission], kind: str) -> None:
    if not coming:
        return
    store.prepare()
    layout, moment = store.layout, timestamp(store.clock.wall())
    written = {
        layout.file(folder, f".{item.task_id}{item.suffix}.{owners.fresh()}.tmp"): item
        for item in coming
    }
    placed: list[tuple[str, Submission]] = []
    try:
        atomic.write_many({path: item.raw for path, item in written.items()})
        store.vouch([trusting.fact_of(item.task_id, path) for path, item in written.items()])
        for path, item in written.items():
            target = layout.file(folder, item.task_id + item.suffix)
            try:
                atomic.move(path, target)
                placed.append((target, item))
            except FileExistsError:
                item.refused = Taken(f"there is already a task '{item.task_id}'")
        atomic.sync_folder(layout.folder(folder))
        store.log.commit_and_wait([_event(store, kind, item, folder, moment) for _, item in placed])
    except (OSError, StoreFault) as error:
        for path, _ in placed:
            atomic.remove(path)  # unless the watcher has taken it by then
        why = error.message if isinstance(error, StoreFault) else str(error.strerror)
        raise StoreFault(
            f"work/{folder}/ could not be written: {why}",
            f"{plural(len(coming), 'task')} not made; run the same again when there is room",
        ) from None
    finally:
        for path in written:
            atomic.remove(path)


def _event(
    store: Store, kind: str, item: Submission, folder: Status, moment: str
) -> dict[str, object]:
    step = f"@{int(store.clock.wall() * 1000)}"
    said = {"phase": "submit", "status": str(folder), "ts": moment, "summary": item.summary}
    return store.log.event(kind, item.task_id, step, task_id=item.task_id, **said)
