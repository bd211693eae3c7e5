"""Whether the watcher lives, answers and claims."""

from __future__ import annotations

from orchestrator.model.units import show_duration
from orchestrator.queries.health.check import Check, note, ok, problem
from orchestrator.queries.world import Known


def watcher(look: Known) -> Check:
    known = look.card
    if look.refusal and (known is None or not known.alive):
        hint = "orchestrator approve --settings"
        return problem("watcher", f"none is running: {look.refusal}", hint)
    if known is None:
        return note("watcher", "none is running", "orchestrator watch")
    pid = f"pid {known.pid}"
    beat = f"beat {show_duration(known.beat)} ago"
    if not known.alive:
        return note("watcher", f"the last one ({pid}) was killed", "orchestrator watch")
    if known.fault:
        return problem(
            "watcher", f"{pid} claims nothing: {known.fault}", "make room, or mend what refuses"
        )
    if known.settings_held:
        held = f"{pid} keeps the previous settings: {known.settings.partition('; to ')[0]}"
        return note("watcher", held, "look with -n first: orchestrator approve --settings")
    if known.settings:
        return problem("watcher", f"{pid} found {known.settings}", "orchestrator validate")
    if not known.answers:
        hint = f"is it stopped (Ctrl-Z)?  kill -CONT {known.pid}"
        return problem("watcher", f"{pid} does not answer ({beat})", hint)
    if known.notifications:
        words = f"{pid}, {beat}; without notifications: {known.notifications}"
        return note("watcher", words, "sysctl fs.inotify.max_user_instances")
    return ok("watcher", f"{pid}, {beat}")
