"""What other programs call things, and files of other programs: tables, so that the hint is the
right word and not the one with the fewest different letters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

# Our word, and what others call it, in lower case with underscores.
SYNONYMS: Mapping[str, str] = {
    "needs": (
        "depends_on depends dependencies dependency dependson requires require required_by_me"
        " blocked_by blockedby blockers after waits_for wait_for prerequisites prerequisite prereqs"
        " prereq upstream parents predecessors deps run_after start_after follows depend_on"
        " dependent_on"
    ),
    "prompt": (
        "description desc instructions instruction task body content text message messages query"
        " question goal objective request ask command_text user_prompt user_message input todo"
        " details what summary_text prompts brief spec story work job"
    ),
    "prompt_file": (
        "promptfile prompt_path instructions_file input_file description_file body_file spec_file"
        " promptpath from_file message_file"
    ),
    "labels": (
        "tags tag label category categories topics topic keywords components component area kind"
        " type"
    ),
    "cwd": (
        "workdir working_dir working_directory workingdirectory directory dir folder workspace path"
        " chdir project_dir root repo_path work_dir"
    ),
    "agent": (
        "assignee assigned_to assignees owner role agents worker executor assigned persona profile"
        " runner subagent subagent_type who for delegate_to assigned_agent agent_name agent_id"
    ),
    "tool": "cli engine backend program harness provider",
    "model": "llm model_name model_id models",
    "context": (
        "files file context_files context_file read include includes references refs reference"
        " inputs attachments sources source_files read_files docs documents relevant_files"
        " files_to_read file_paths files_to_modify paths"
    ),
    "artifacts": (
        "artefacts artifact outputs output output_files produces deliverables results writes"
        " creates targets generates artifact_paths output_file files_to_create"
    ),
    "title": "name subject headline heading summary display_name",
    "timeout": (
        "time_limit timelimit max_time max_duration max_runtime timeout_s timeout_seconds"
        " timeout_minutes deadline_after timeout_sec timeoutsec duration execution_timeout"
        " job_timeout task_timeout timeout_ms max_runtime_minutes max_time_minutes timeout_mins"
        " dagrun_timeout"
    ),
    "silence": "idle_timeout inactivity_timeout no_output_timeout stall_timeout",
    "retries": (
        "retry max_retries maxretries attempts max_attempts retry_count retrylimit retry_limit"
        " retry_policy"
    ),
    "max_cost_usd": "budget max_cost cost_limit max_budget budget_usd max_usd maxcost max_spend",
    "priority": "prio importance urgency severity level",
    "not_before": (
        "start_at start scheduled_at scheduled run_at start_date starts_at not_until earliest"
        " earliest_start defer_until start_after_time when at eta"
    ),
    "env": "environment envs environment_variables variables vars env_vars",
    "hold": "held paused disabled draft on_hold blocked suspended skip",
    "mode": "interactive interaction session_mode",
    "run": "group batch epic workflow pipeline job_group run_id sprint milestone project",
}
# Words that mean the same in a file of several tasks.
RUN_SYNONYMS: Mapping[str, str] = {
    "tasks": "steps jobs items subtasks children stages work_items todos nodes",
    "max_parallel": (
        "parallel concurrency max_concurrency parallelism workers max_workers max_active_steps"
        " maxactivesteps jobs_limit"
    ),
    "on_failure": (
        "fail_fast failfast stop_on_failure continue_on_error continue_on_failure on_error"
    ),
    "defaults": "common default shared globals",
    "title": "name subject headline description",
    "max_cost_usd": SYNONYMS["max_cost_usd"],
}
# And of a schedule.
SCHEDULE_SYNONYMS: Mapping[str, str] = {
    "cron": "schedule crontab expression at time when daily weekly monthly on_calendar calendar",
    "every": "interval repeat period frequency hourly",
    "tz": "timezone time_zone zone",
}
IS_ID = "the file's name is the id: remove this line"
# The same, where a task has no file of its own.
IS_KEY = "the key above is the id: remove this line"
IS_NEXT = "its title, agent or template names it (TASK.TITLE): remove this line"
# Keys that have no word here, by what to do about them; {key} is the key as it is written.
_ADVICE: Mapping[str, str] = {
    "the folder is the status: remove this line": "status state done completed closed is_done",
    IS_ID: "id task_id uid uuid slug dag_id identifier",
    "the event log has the times: remove this line, or call it x-{key}": (
        "created_at updated_at created updated modified created_on updated_on last_updated date"
        " created_date completed_at started_at finished_at closed_at"
    ),
    "there are no due dates: remove this line, or call it x-{key}": (
        "due due_date deadline due_on target_date sla"
    ),
    "nothing here reads it: remove this line, or call it x-{key}": (
        "reporter creator author created_by updated_by story_points points estimate estimates"
        " estimated_hours estimated_time complexity parent parent_id parent_task epic_link team"
        " team_id project_id state_id assignee_id cycle cycle_id number key url link links ticket"
        " issue pr pull_request branch_name revision resolution fix_version fix_versions issuetype"
        " issue_type watchers votes subscribers position positions type_version task_group icon"
        " color colour percent_complete progress actual_hours commit sha"
    ),
    "the agent reads only the prompt: write it there": (
        "acceptance_criteria acceptance criteria requirements requirement constraints"
        " success_criteria test_strategy test_plan notes note background definition_of_done dod"
        " expected_output expected expected_result actual_result expected_behavior"
        " expected_behaviour actual_behavior checklist rationale motivation scope in_scope"
        " out_of_scope non_goals nongoals goals user_story user_stories reproduction"
        " steps_to_reproduce repro guidance guidelines rules hint hints tips example examples"
        " assumptions risks considerations implementation_notes implementation_plan technical_notes"
        " technical_details approach design solution problem problem_statement why purpose intent"
        " comments comment hypothesis resources implementation_details next_steps plan_details"
        " prompt_suffix prompt_prefix extra_instructions"
    ),
    "put a role's instructions in work/agents/NAME.md": (
        "system_prompt system system_message append_system_prompt backstory "
        "custom_instructions persona_prompt role_prompt role_definition"
    ),
    "give a command to an agent in orchestrator.yaml: tool: shell, command: [...]": (
        "command commands cmd cmds script scripts bash shell exec entrypoint bash_command"
        " run_command shell_command argv args arguments execute action actions run_script"
    ),
    "put commands that prove the work in orchestrator.yaml under checks:; name them here: verify: [...]": (
        "test_cmd lint_cmd test_command tests test lint check checks validation validations"
        " verification verify_command assertions guardrail guardrails quality_gates gates auto_test"
        " auto_lint"
    ),
    "set permissions for an agent in orchestrator.yaml": (
        "permissions permission permission_mode allowed_tools tools disallowed_tools denied_tools"
        " approval_mode approval_policy ask_for_approval sandbox_mode yolo auto_approve auto_accept"
        " yes dangerously_skip_permissions mcp mcp_servers toolsets allow deny skills trust"
        " full_auto human_input"
    ),
    "set sampling and effort in the agent's own settings, and remove this line": (
        "temperature top_p top_k seed max_output_tokens frequency_penalty presence_penalty"
        " reasoning_effort effort thinking thinking_budget model_settings model_config"
        " model_reasoning_effort model_parameters"
    ),
    "there is no limit on turns: use timeout, max_tokens or max_cost_usd": (
        "max_turns max_steps max_iterations max_iter turns iterations recursion_limit max_rounds"
    ),
    "a task starts once, at not_before or later; for repeated work, put a file in work/schedules/": (
        "cron schedule schedule_interval interval repeat repeat_policy every recurrence recurring"
        " frequency trigger triggers catchup rrule cadence timetable repeat_every crontab"
    ),
    "set the wait before another attempt in orchestrator.yaml: retry: {delay: 10s}": (
        "retry_delay retry_backoff backoff retry_wait retry_interval retry_exponential_backoff"
        " max_retry_delay interval_sec interval_seconds"
    ),
    "no containers here: sandbox: limits what the tool reaches, on: says where it runs": (
        "container containers image docker dockerfile volumes volume mounts ports port networks"
        " network healthcheck services runs_on run_on machine vm pod namespace platform cpu memory"
        " gpu restart privileged build node_selector executor_config machine_type"
    ),
    "one task for each value is a run:  tasks: {NAME: {prompt: ..., matrix: {...}}}": (
        "matrix strategy foreach for_each loop "
        "with_items each parallel_for map_over expand repeat_for"
    ),
    "put secrets in the watcher's environment; name them under environment: in orchestrator.yaml": (
        "secrets secret credentials api_key apikey token env_file envfile dotenv password"
    ),
    "tasks that share a word never run at the same time:  locks: [word]": (
        "concurrency concurrency_group mutex exclusive pool "
        "semaphore queue resource_group max_active_runs max_active_tis single_instance"
    ),
    "a task starts once what it needs is done;  needs: {build: failed}  waits for another end": (
        "if condition conditions trigger_rule only_if unless preconditions precondition only except"
        " run_if skip_if depends_on_past conditional"
    ),
    "write a follow-up task as  then: {agent: ..., prompt: ...}": (
        "on_success on_success_callback next next_step next_task follow_up followup follow_ups"
        " downstream on_complete on_completion after_script handoff handoffs handler_on connections"
        " success_callback"
    ),
    "a failed task blocks only the tasks that need it: remove this line": (
        "continue_on_error ignore_error ignore_errors allow_failure ignore_failure continue_on"
        " continue_on_failure soft_fail fail_fast failfast on_failure on_error"
    ),
    "to be notified, use hooks: in orchestrator.yaml": (
        "notify notifications notification mail_on email email_on_failure slack webhook webhooks"
        " on_failure_callback alert alerts callback callback_url on_retry_callback"
    ),
    "for an answer as data, write  result: {schema: FILE}": (
        "output_json output_schema output_pydantic output_format response_format "
        "json_schema response_schema structured_output"
    ),
    "a task file has no version: remove this line": (
        "version schema_version api_version format_version"
    ),
    "put steps in the prompt; put several tasks under  tasks:  by name": (
        "steps subtasks sub_tasks jobs stages nodes phases"
    ),
    "a contest is a file of its own, not a task of a run: prompt: and compete: at its top": (
        "compete"
    ),
}
ELSEWHERE: Mapping[str, str] = {
    word: advice for advice, words in _ADVICE.items() for word in words.split()
}


class Kind(NamedTuple):
    """A kind of file of another program: keys that are all there, keys of which one is, a key that
    its parts have."""

    name: str
    all_of: str
    one_of: str = ""
    within: tuple[str, str] | None = None
    hint: str = ""


_NOT_OURS = "it does not run; a task is a file with a  prompt:"
KINDS: tuple[Kind, ...] = (
    Kind("a Kubernetes or Argo manifest", "apiVersion kind"),
    Kind("a GitHub Actions workflow", "jobs", "on True", ("jobs", "steps runs-on uses")),
    Kind("a GitHub Actions workflow", "jobs", "", ("jobs", "runs-on")),
    Kind("a CircleCI configuration", "jobs", "workflows orbs"),
    Kind("an Azure pipeline", "steps", "pool trigger vmImage"),
    Kind("a GitHub action", "runs inputs", "name description"),
    Kind(
        "a Compose file",
        "services",
        "",
        ("services", "image build command environment ports volumes"),
    ),
    Kind("a Compose file", "services", "version networks volumes"),
    Kind("a process-compose file", "processes"),
    Kind("a Dagu workflow", "steps", "", ("steps", "command depends script run call executor")),
    Kind("a Dagu workflow", "steps", "schedule handlerOn params histRetentionDays handler_on"),
    Kind("a GitLab pipeline", "stages"),
    Kind("a GitLab pipeline", "image script"),
    Kind("a Taskfile", "version tasks"),
    Kind("a Taskfile", "tasks", "", ("tasks", "cmds cmd deps")),
    Kind("a Kestra flow", "namespace tasks"),
    Kind("an Ansible playbook", "", "", ("", "hosts")),
    Kind("a tmuxinator project", "windows", "root name"),
    Kind("a pre-commit configuration", "repos"),
    Kind("an OpenAPI description", "paths", "openapi swagger"),
    Kind("a Conda environment", "dependencies", "channels"),
    Kind("a MkDocs configuration", "site_name"),
    Kind("an aider configuration", "", "auto-commits edit-format weak-model"),
    Kind("a Goose recipe", "title instructions", "extensions parameters activities settings"),
    Kind("a promptfoo configuration", "prompts", "providers tests"),
    Kind("a CrewAI file", "", "", ("*", "expected_output backstory")),
    Kind("a package.json", "name version", "scripts dependencies devDependencies"),
    Kind("an orchestrator tool file", "argv", "", None, "put it in work/tools/"),
    Kind("an orchestrator result", "outcome", "attempts task_id", None, "put it in work/results/"),
    Kind(
        "orchestrator settings",
        "",
        "limits budgets policy cancel",
        None,
        "put them in work/orchestrator.yaml",
    ),
    Kind(
        "an agent's profile",
        "name description",
        "tools color model",
        None,
        "put it in work/agents/",
    ),
)


def plain(key: str) -> str:
    """A key without its writer's taste: lower case, words joined by underscores."""
    key = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key.strip())
    return re.sub(r"[\s.-]+", "_", key).lower().lstrip("_")


def _table(synonyms: Mapping[str, str]) -> dict[str, str]:
    return {word: ours for ours, words in synonyms.items() for word in words.split()}


_TASK, _RUN, _SCHEDULE = (_table(words) for words in (SYNONYMS, RUN_SYNONYMS, SCHEDULE_SYNONYMS))


def word_for(key: str, known: Mapping[str, Any] | set[str]) -> str:
    """Our word for a key of another program, among those that are ``known`` where it stands; empty
    if there is none."""
    form = plain(key)
    if form in known:
        return form
    tables = (_RUN, _TASK) if "tasks" in known else (_TASK,)
    if "cron" in known:
        tables = (_SCHEDULE,)
    for table in tables:
        word = table.get(form) or table.get(form.replace("_", ""))
        if word is not None and word in known:
            return word
    return ""


def hint_for(key: str, known: Mapping[str, Any] | set[str]) -> str:
    """What to do about a key of another program in a task, run or schedule; empty if nothing is
    known about it."""
    if not {"prompt", "tasks", "cron"} & set(known):
        return ""
    word = word_for(key, known)
    if word:
        return f"write '{word}'" if plain(key) == word else f"here it is called '{word}'"
    if "cron" in known:
        return ""
    form = plain(key)
    advice = ELSEWHERE.get(form) or ELSEWHERE.get(form.replace("_", ""), "")
    return advice.replace("{key}", form)


def kind_of(data: object) -> Kind | None:
    """Which other program this file was written for; None if it could be ours."""
    if isinstance(data, list):
        data = {"": data}
    if not isinstance(data, Mapping) or {"prompt", "prompt_file"} & set(data):
        return None
    return next((kind for kind in KINDS if _is(data, kind)), None)


def _is(data: Mapping[Any, Any], kind: Kind) -> bool:
    keys = {str(key) for key in data}
    if not keys.issuperset(kind.all_of.split()):
        return False
    if kind.one_of and not keys.intersection(kind.one_of.split()):
        return False
    if kind.within is None:
        return bool(kind.all_of or kind.one_of)
    parts = data if kind.within[0] == "*" else data.get(kind.within[0])
    listed = parts if isinstance(parts, list) else ()
    inner = parts.values() if isinstance(parts, Mapping) else listed
    found = [part for part in inner if isinstance(part, Mapping)]
    return any(set(map(str, part)) & set(kind.within[1].split()) for part in found) and not any(
        "prompt" in part for part in found
    )


# How files begin that are no mapping, and often no YAML.
TEXTS: tuple[tuple[str, str], ...] = (
    (r"diff --git |--- a/|Index: ", "a patch"),
    (r"<(!DOCTYPE|html|\?xml|svg)\b", "an HTML or XML file"),
    (r"#!\s*/", "a script"),
    (r"\[[\w.-]+\]\s*\n\s*[\w.-]+\s*=", "a TOML or INI file"),
    (r"(FROM|ARG) \S+.*\n(.*\n)*?(RUN|CMD|COPY|ENTRYPOINT) ", "a Dockerfile"),
)


def kind_of_text(text: str) -> Kind | None:
    """The same of a text that is no mapping."""
    start = text[:2000].lstrip()
    name = next((name for begin, name in TEXTS if re.match(begin, start, re.IGNORECASE)), "")
    return Kind(name, "") if name else None


def not_a_task(kind: Kind) -> tuple[str, str]:
    """``(message, hint)``."""
    return f"this is {kind.name}, not a task", kind.hint or _NOT_OURS
