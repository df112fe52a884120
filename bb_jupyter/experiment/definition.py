"""The definition of an experiment as its author writes it, and the runs that follow from it.  It contains no secret."""

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

#: Folder of the workspace in a bottle's home, and folder of hidden tests in theirs.
WORK, TESTS = "work", "tests"
#: Label of runs without an agent.
SCRIPT = "script"
#: Seconds that a check may take.
CHECK_TIME = 600.0
_T = TypeVar("_T")
_LABEL_MAX = 60
_BRACED = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_CREDENTIAL = re.compile(r"(^|_)(API_?KEY|KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$", re.ASCII | re.IGNORECASE)


def _label(text: str) -> str:
    if len(text) > _LABEL_MAX:
        raise ValueError(f"{quoted(text)} is too long for a name; the limit is {_LABEL_MAX} characters")
    return text


def _variable(name: str) -> str:
    """Check a variable's name; refuse credentials, because records are kept and shown."""
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
    """Turn a number into text, because YAML reads unquoted digits as a number."""
    return str(value) if isinstance(value, int | float) else value


def _listed(value: object) -> object:
    return [value] if isinstance(value, str | int | float) else value


def _agents(value: object) -> object:
    """Normalise a name, a list of names, or a mapping with labels alone to `{label: {agent: name}}`."""
    if isinstance(value, str):
        value = [value]
    if isinstance(value, Sequence):
        return {str(name) or SCRIPT: {"agent": name} for name in value}
    if not isinstance(value, Mapping):
        return value or {}
    return {label: _part("agent", label if part is None else part, label) for label, part in value.items()}


def _prompts(value: object) -> object:
    """Normalise a text, a list of texts, or a mapping of texts to `{label: {prompt: text}}`."""
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
    """One of the compared agents.

    Attributes:
        agent: name of an agent manifest or of a provider; without one, prompts are shell scripts.
        env: variables of its runs, such as one that names a model; never a credential.
    """

    agent: str = ""
    env: Annotated[dict[Variable, Value], NoneIsEmpty] = Field(default_factory=dict)


class Workspace(StrictModel):
    """The files that a run starts with: those of a directory, or of a commit.

    Attributes:
        directory: a directory on this host; ignored files and those that look like credentials are left out.
        git: a repository on this host.
        commit: a commit of that repository, as `git rev-parse` accepts it.
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
    """A shell command that decides whether a run did its task: a run passes when the command exits with 0.

    Without `hidden`, the command runs in the agent's bottle, in the workspace; the agent may have seen or changed its
    files.  With `hidden`, it runs in a second bottle after the agent's bottle is gone, so the agent never sees these
    tests.  The command then starts in the folder of the tests, and `$WORK` is a copy of the agent's workspace.  A test
    that imports the agent's code can still be deceived by a faked exit status: compare its output where that matters.
    `$BB_PROMPT` is the label of the prompt, so that one check can serve many tasks.

    Attributes:
        command: for `sh -c`.
        hidden: file or directory of this host with the tests; empty for none.
        bottle: manifest of the second bottle; empty for a bottle without a network.
        image: image of the second bottle, on backends that run images.
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
        prompt: the agent's prompt, or a shell script without an agent; `{name}` stands for the parameter of that name.
        workspace: instead of the experiment's.
        check: instead of the experiment's.
    """

    prompt: str
    workspace: WorkspaceField = None
    check: CheckField = None


class RunLimits(StrictModel):
    """Limits of a run, or of the whole experiment.

    Time and bytes are measured outside the bottle; tokens and money are as the agent reports them.

    Attributes:
        time: wall time in seconds.
        tokens: input and output tokens together, cached ones included.
        money: US dollars.
        egress: bytes through the gateways of the run's bottles, both directions together.
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
        name: the experiment's name, which is its folder's.
        agents: the compared agents, by label; the default label is the agent's name.
        prompts: the tasks, by label.
        bottles: names of bottle manifests; an empty name for a bottle without one.
        parameters: variables with their values; in the bottle's environment, and in prompts as `{name}`.
        repeats: runs of each combination.
        seed: seed of the order, and of the runs' own seeds (`$BB_SEED` in the bottle).
        order: `shuffled` spreads effects of time over all combinations; `given` is the order of the grid.
        workspace: the files that every run starts with.
        prepare: shell script to run once in the workspace before any agent; the runs start as branches of its bottle.
        check: how to check a run; without one, a run passes when its agent succeeds.
        limits: limits of each run.
        budget: limits of the whole experiment.
        resources: limits of each bottle; they override its manifest's.
        backend: name of the backend; empty to choose one that works on this host.
        image: image to run, on backends that run images.
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
        """Return a hash of everything that determines the runs, and of *more*."""
        data: dict[str, Any] = {**self.model_dump(mode="json"), **more}
        return hashlib.sha256(json.dumps(data, sort_keys=True, default=str).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class RunSpec:
    """The specification of one run.

    Attributes:
        id: number in the grid, such as `0017`; the same definition gives the same ids.
        position: place in the order of execution, from 0 on.
        agent: label of the agent.
        prompt: label of the prompt.
        bottle: name of the bottle's manifest.
        repeat: from 1 on.
        seed: equal for runs that differ in the agent only, so that these have the same randomness.
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
    """Yield the runs in the order of execution."""
    runs = [*itertools.product(_cells(definition), range(1, definition.repeats + 1))]
    width = max(4, len(str(len(runs))))
    numbered = [*enumerate(runs, 1)]
    for position, (number, ((agent, prompt, bottle, parameters), repeat)) in enumerate(_order(definition, numbered)):
        seed = _seed(definition.seed, prompt, bottle, *parameters.items(), repeat)
        yield RunSpec(f"{number:0{width}d}", position, agent, prompt, bottle, repeat, seed, parameters)


def filled(prompt: str, parameters: Mapping[str, str]) -> str:
    """Replace each `{name}` of a parameter in a prompt by its value; other braces stay."""
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
    """Return a seed of 31 bits, which every random generator accepts."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4]) >> 1
