"""What a verb has done, and what it was refused: lines as it goes on, or one JSON document at the
end."""

from __future__ import annotations

from orchestrator.cli.app import App
from orchestrator.cli.screen.console import say
from orchestrator.errors import FAILED, OrchestratorError
from orchestrator.records import dataclass, field


@dataclass(slots=True)
class Changes:
    """One refusal stops nothing else; it makes the exit code 1."""

    app: App
    as_json: bool = False
    changed: list[dict[str, str | None]] = field(default_factory=list)
    refused: list[dict[str, str]] = field(default_factory=list)

    def done(self, name: str, before: str | None, after: str | None, line: str) -> None:
        """Something went from one state to another; ``line`` tells people."""
        self.changed.append({"id": name, "from": before, "to": after})
        if not self.as_json:
            self.app.console.out(line)

    def refuse(self, name: str, error: OrchestratorError) -> None:
        """Something could not be done, and why."""
        self.refused.append({"id": name, "why": error.message})
        if not self.as_json:
            hint = f"\nhint:  {error.hint}" if error.hint else ""
            say(f"error: {error.message}{hint}")

    def end(self) -> int:
        """Print the document if one is wanted; the exit code."""
        if self.as_json:
            document = {"changed": self.changed, "refused": self.refused}
            self.app.console.json("change", document)
        return FAILED if self.refused else 0
