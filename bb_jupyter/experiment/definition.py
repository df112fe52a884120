"""What an experiment is, as its author writes it: checked, plain data, without a secret."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from bb_jupyter.manifest import Limits, parse_size
from bb_jupyter.manifest.limits import Duration
from bb_jupyter.manifest.strict_model import Line, NoneIsEmpty, OptionalHostPath, StrictModel
from bb_jupyter.text.visible import quoted

#: Where the workspace lies in every bottle, below its home, and where hidden tests do in theirs.
WORK, TESTS = "work", "tests"
#: Label of no agent at all.
SCRIPT = "script"
#: How long a check may take, in seconds.
CHECK_TIME = 600.0
_T = TypeVar("_T")
_LABEL_MAX = 60
_BRACED = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_CREDENTIAL = re.compile(r"(^|_)(API_?KEY|KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$", re.ASCII | re.IGNORECASE)


def _label(text: str) -> str:
    if len(text) > _LABEL_MAX:
        raise ValueError(f"{quoted(text)} is too long for a name: {_LABEL_MAX} characters are possible")
    return text


def _variable(name: str) -> str:
    """Let no credential into an experiment: its records are kept and shown."""
    if not _VARIABLE.fullmatch(name):
        raise ValueError(f"{quoted(name)} cannot name a variable")
    if _CREDENTIAL.search(name):
        raise ValueError(
            f"{quoted(name)} looks like a credential, and records are kept\n"
            "Give it to the gateway: `token_ref` in a bottle's route."
        )
    return name


def _bytes(value: object) -> object:
    return parse_size(value) if isinstance(value, str) else value


def _plain(value: object) -> object:
    """Take a number for its text, as YAML would have it."""
    return str(value) if isinstance(value, int | float) else value


def _listed(value: object) -> object:
    return [value] if isinstance(value, str | int | float) else value


def _agents(value: object) -> object:
    """Make `{label: {agent: name}}` of a name, of a list of names, or where a label stands for its name."""
    if isinstance(value, str):
        value = [value]
    if isinstance(value, Sequence):
        return {str(name) or SCRIPT: {"agent": name} for name in value}
    if not isinstance(value, Mapping):
        return value or {}
    return {label: _part("agent", label if part is None else part, label) for label, part in value.items()}


def _prompts(value: object) -> object:
    """Make `{label: {prompt: text}}` of a text or of a list of texts, and of texts in place of parts."""
    if isinstance(value, str):
        value = [value]
    if isinstance(value, Sequence):
        value = {f"prompt{number}": part for number, part in enumerate(value, 1)}
    if not isinstance(value, Mapping):
        return value or {}
    return {label: _part("prompt", part) for label, part in value.items()}


def _part(key: str, value: object, default: str | None = None) -> object:
    if isinstance(value, str):
        return {key: value}
    return {key: default, **value} if default is not None and isinstance(value, Mapping) else value


def _check(value: object) -> object:
    return ({"command": value} if value else None) if isinstance(value, str) else value


Label = Annotated[str, AfterValidator(_label)]
Variable = Annotated[str, AfterValidator(_variable)]
Value = Annotated[str, BeforeValidator(_plain)]
Values = Annotated[tuple[Value, ...], BeforeValidator(_listed)]
Bytes = Annotated[int, BeforeValidator(_bytes), Field(gt=0)]
Count = Annotated[int, Field(gt=0)]


class Variant(StrictModel):
    """One of the agents that are compared.

    Attributes:
        agent: name of an agent manifest or of a provider; empty for none, then prompts are shell scripts.
        env: variables of its runs, such as one that names a model; never a credential.
    """

    agent: str = ""
    env: Annotated[dict[Variable, Value], NoneIsEmpty] = Field(default_factory=dict)


class Workspace(StrictModel):
    """What a run starts with: a directory as it is, or the files of a commit.

    Attributes:
        directory: on this host; ignore rules hold, and what looks like a credential stays out.
        git: a repository on this host.
        commit: of that repository: anything that `git rev-parse` takes.
    """

    directory: OptionalHostPath = ""
    git: OptionalHostPath = ""
    commit: Line = "HEAD"

    @model_validator(mode="after")
    def _one(self) -> Workspace:
        if bool(self.directory) == bool(self.git):
            raise ValueError("needs either `directory` or `git`")
        return self


class RunCheck(StrictModel):
    """What decides whether a run did its task: exit status 0 of a shell command.

    Without `hidden` it runs in the agent's bottle, in the workspace, where the agent may have seen or changed what it
    runs.  With it, a second bottle is launched when the agent is done and its bottle gone: the agent never sees these
    tests.  The command then starts in their folder, and `$WORK` is a copy of what the agent left.  Code of the agent's
    that a test imports can still fake an exit status: compare what it prints when that matters.  `$BB_PROMPT` is the
    label of the prompt, so that one check can serve many tasks.

    Attributes:
        command: for `sh -c`.
        hidden: file or directory of this host with the tests; empty for none.
        bottle: manifest of the second bottle; empty for one without a network.
        image: image of the second bottle (docker).
    """

    command: Annotated[str, Field(min_length=1)]
    hidden: OptionalHostPath = ""
    bottle: str = ""
    image: str = ""


def _is_path(value: object) -> bool:
    return isinstance(value, str) or hasattr(value, "__fspath__")


WorkspaceField = Annotated[
    Workspace | None, BeforeValidator(lambda value: {"directory": str(value)} if _is_path(value) else value)
]
CheckField = Annotated[RunCheck | None, BeforeValidator(_check)]


class Task(StrictModel):
    """One of the prompts.

    Attributes:
        prompt: for the agent, or a shell script where there is none; `{name}` stands for the parameter of that name.
        workspace: instead of the experiment's.
        check: instead of the experiment's.
    """

    prompt: str
    workspace: WorkspaceField = None
    check: CheckField = None


class RunLimits(StrictModel):
    """What a run, or the whole experiment, may use.

    The wall clock and the bytes are measured outside the bottle; tokens and money are what the agent says.

    Attributes:
        time: seconds.
        tokens: read and written ones together, cached ones included.
        money: US dollars.
        egress: bytes through the gateway, both directions together; of a second bottle for hidden tests, too.
    """

    time: Duration | None = None
    tokens: Count | None = None
    money: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    egress: Bytes | None = None


def _script() -> dict[str, Variant]:
    return {SCRIPT: Variant()}


class Definition(StrictModel):
    """An experiment: agents × prompts × bottles × parameters, each `repeats` times.

    Attributes:
        name: its folder's name.
        agents: what is compared, by label, which is the agent's name where none is given.
        prompts: the tasks, by label.
        bottles: names of bottle manifests; empty text for a bottle that has none.
        parameters: variables and the values that they take; in the bottle's environment, and in prompts as `{name}`.
        repeats: runs of each combination.
        seed: of the order and of the runs' own seeds (`$BB_SEED` in the bottle).
        order: `shuffled` spreads what changes with time over all combinations; `given` keeps that of the grid.
        workspace: what every run starts with.
        prepare: shell script that is run once in the workspace, before any agent, where the backend can branch bottles.
        check: what decides about a run; none: it passes when its agent ends well.
        limits: of each run.
        budget: of the whole.
        resources: limits of each bottle, over those of its manifest.
        backend: where bottles run; empty to choose by what works.
        image: to run (docker).
    """

    name: str
    agents: Annotated[
        dict[Label, Variant], BeforeValidator(_agents), Field(default_factory=lambda: {SCRIPT: Variant()})
    ]
    prompts: Annotated[dict[Label, Task], BeforeValidator(_prompts)]
    bottles: Annotated[tuple[str, ...], BeforeValidator(_listed), Field(min_length=1)] = ("",)
    parameters: Annotated[dict[Variable, Values], NoneIsEmpty] = Field(default_factory=dict)
    repeats: Annotated[int, Field(gt=0, le=100_000)] = 1
    seed: int = 0
    order: Literal["shuffled", "given"] = "shuffled"
    workspace: WorkspaceField = None
    prepare: str = ""
    check: CheckField = None
    limits: Annotated[RunLimits, NoneIsEmpty] = RunLimits()
    budget: Annotated[RunLimits, NoneIsEmpty] = RunLimits()
    resources: Annotated[Limits, NoneIsEmpty] = Limits()
    backend: str = ""
    image: str = ""

    @model_validator(mode="after")
    def _something(self) -> Definition:
        empty = [name for name in ("agents", "prompts") if not getattr(self, name)]
        empty += [f"parameters.{name}" for name, values in self.parameters.items() if not values]
        if empty:
            raise ValueError(f"{empty[0]}: is empty, so there is nothing to run")
        return self

    def check_of(self, task: str) -> RunCheck | None:
        """Return the check of a prompt."""
        own = self.prompts[task].check
        return self.check if own is None else own

    def workspace_of(self, task: str) -> Workspace | None:
        """Return the workspace of a prompt."""
        return self.prompts[task].workspace or self.workspace

    def fingerprint(self, **more: object) -> str:
        """Return a hash of all that decides what the runs are, and of *more*."""
        data: dict[str, Any] = {**self.model_dump(mode="json"), **more}
        return hashlib.sha256(json.dumps(data, sort_keys=True, default=str).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class RunSpec:
    """One run, before it runs.

    Attributes:
        id: its place in the grid, such as `0017`; the same definition gives the same ids.
        position: its place in the order of execution, from 0 on.
        agent: label of the agent.
        prompt: label of the prompt.
        bottle: name of the bottle's manifest.
        repeat: from 1 on.
        seed: the same for runs that differ in the agent alone, so that they meet the same luck.
        parameters: variable → value.
    """

    id: str
    position: int
    agent: str
    prompt: str
    bottle: str
    repeat: int
    seed: int
    parameters: Mapping[str, str] = field(default_factory=dict)


def expand(definition: Definition) -> Iterator[RunSpec]:
    """Return the runs in the order of execution."""
    runs = [*itertools.product(_cells(definition), range(1, definition.repeats + 1))]
    width = max(4, len(str(len(runs))))
    numbered = [*enumerate(runs, 1)]
    for position, (number, ((agent, prompt, bottle, parameters), repeat)) in enumerate(_order(definition, numbered)):
        seed = _seed(definition.seed, prompt, bottle, *parameters.items(), repeat)
        yield RunSpec(f"{number:0{width}d}", position, agent, prompt, bottle, repeat, seed, parameters)


def filled(prompt: str, parameters: Mapping[str, str]) -> str:
    """Put parameters into a prompt: `{name}` of one becomes its value as it is, all else stays."""
    return _BRACED.sub(lambda match: parameters.get(match[1], match[0]), prompt)


def _cells(definition: Definition) -> Iterator[tuple[str, str, str, Mapping[str, str]]]:
    names = [*definition.parameters]
    values = itertools.product(*definition.parameters.values())
    settings = [dict(zip(names, chosen, strict=True)) for chosen in values]
    return itertools.product(definition.agents, definition.prompts, definition.bottles, settings)


def _order(definition: Definition, runs: list[_T]) -> list[_T]:
    if definition.order == "shuffled":
        random.Random(definition.seed).shuffle(runs)  # noqa: S311 - an order, not a secret
    return runs


def _seed(*parts: object) -> int:
    """Return 31 bits, which every program's random generator takes."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4]) >> 1
