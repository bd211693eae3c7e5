"""Reading ``orchestrator.yaml``."""

from __future__ import annotations

from orchestrator.errors import INVALID, OrchestratorError, Unusable
from orchestrator.files.documents import Document, Problem, parse
from orchestrator.files.layout import Layout
from orchestrator.files.requests import Check
from orchestrator.model.config import Config, config_from


class ConfigProblems(OrchestratorError):
    """The configuration does not fit its schema; ``problems`` say where."""

    exit_code = INVALID

    def __init__(self, path: str, document: Document, problems: list[Problem]) -> None:
        first = problems[0]
        super().__init__(f"{path}:{first.line}:{first.column}: {first.message}", first.hint)
        self.path, self.document, self.problems = path, document, problems


def load_config(layout: Layout, check: Check | None = None) -> Config:
    """The configuration; with ``check`` it must fit its schema, without one it is taken as it is.

    Raises `Unusable` if it cannot be read and `ConfigProblems` if it is wrong.
    """
    try:
        with open(layout.config, "rb") as file:
            document = parse(file.read())
    except OSError as error:
        raise Unusable(f"{layout.shown(layout.config)} cannot be read: {error.strerror}", "orchestrator init") from None
    problems = document.problems or (check("config", document) if check else [])
    if not problems:
        try:
            return config_from(document.data)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            problems = [document.problem_at((), f"does not fit the schema: {error}", "orchestrator validate")]
    raise ConfigProblems(layout.shown(layout.config), document, problems)
