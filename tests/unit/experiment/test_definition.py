"""What an experiment may say, and what is told when it cannot be right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bb_jupyter.errors import ManifestError, UsageError
from bb_jupyter.experiment import Experiment, RunCheck, Task, Variant
from bb_jupyter.experiment.definition import Definition, expand, filled
from bb_jupyter.manifest.parse import parse
from bb_jupyter.manifest.validation_errors import build


def from_yaml(text: str) -> Definition:
    return build(Definition, parse(text, "<cell>", plain=True), {"name": "demo"}, base=Path.cwd())


def test_short_forms_say_the_same_as_long_ones() -> None:
    short = from_yaml("agents: [claude, codex]\nprompts: {fix: Mend it.}\ncheck: make test\nparameters: {LEVEL: 3}")
    long = Definition(
        name="demo",
        agents={"claude": Variant(agent="claude"), "codex": Variant(agent="codex")},
        prompts={"fix": Task(prompt="Mend it.")},
        check=RunCheck(command="make test"),
        parameters={"LEVEL": ("3",)},
    )
    assert short == long


def test_a_label_names_its_agent_unless_one_is_said() -> None:
    agents = from_yaml("agents: {claude: , low: {agent: codex}, codex: {env: {EFFORT: 1}}}\nprompts: x").agents
    assert [(label, each.agent) for label, each in agents.items()] == [
        ("claude", "claude"), ("low", "codex"), ("codex", "codex"),
    ]  # fmt: skip


def test_without_agents_prompts_are_scripts() -> None:
    assert Experiment("demo", prompts="true").definition.agents["script"].agent == ""


def test_sizes_and_durations_are_written_as_people_do() -> None:
    limits = from_yaml("prompts: x\nlimits: {time: 1h30m, tokens: 1000, money: 2.5, egress: 5k}").limits
    assert (limits.time, limits.tokens, limits.money, limits.egress) == (5400.0, 1000, 2.5, 5120)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("prompts: x\nrepeats: five", "<cell>:2: repeats: expected a whole number"),
        ("prompt: x", "Did you mean 'prompts'?"),
        ("prompts: {a: {promt: x}}", "Did you mean 'prompt'?"),
        ("prompts: x\ncheck: {comand: x}", "Did you mean 'command'?"),
        ("prompts: x\nagents: []", "nothing to run"),
        ("prompts: x\nparameters: {LEVEL: []}", "nothing to run"),
        ("prompts: x\nparameters: {API_KEY: 1}", "token_ref"),
        ("agents: {a: {env: {SERVICE_TOKEN: 1}}}\nprompts: x", "looks like a credential"),
        ("prompts: x\nworkspace: {directory: a, git: b}", "either `directory` or `git`"),
        ("prompts: x\nlimits: {time: soon}", "not a duration"),
        ("prompts: x\nlimits: {tokens: 0}", "tokens"),
    ],
)
def test_a_mistake_is_told_with_its_line(text: str, told: str) -> None:
    with pytest.raises(ManifestError, match="<cell>") as failure:
        from_yaml(text)
    assert told in str(failure.value)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"prompts": "x", "repeat": 3}, "repeat: unknown key\nDid you mean 'repeats'?"),
        ({"prompts": "x", "repeats": 0}, "repeats: must be greater than 0"),
        ({}, "prompts: is required"),
        ({"prompts": "x", "name": "No Name"}, "cannot name an experiment"),
        ({"prompts": "x", "check": {"cmd": "x"}}, "check.cmd: unknown key\nDid you mean 'command'?"),
        ({"prompts": "x", "order": "givn"}, "Did you mean 'given'?"),
    ],
)
def test_in_python_a_mistake_is_told_by_its_key(given: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError) as failure:
        Experiment(given.pop("name", "demo"), **given)
    assert told in str(failure.value)


def test_every_combination_runs_so_often() -> None:
    wanted = from_yaml("agents: [a, b]\nprompts: [x, y, z]\nparameters: {P: [1, 2], Q: 3}\nrepeats: 4")
    runs = [*expand(wanted)]
    assert len(runs) == len({run.id for run in runs}) == 2 * 3 * 2 * 4
    assert {(run.agent, run.prompt, run.parameters["P"], run.repeat) for run in runs} == {
        (a, f"prompt{p}", q, r) for a in "ab" for p in (1, 2, 3) for q in "12" for r in (1, 2, 3, 4)
    }


def test_the_order_is_shuffled_and_the_same_each_time() -> None:
    text = "agents: [a, b]\nprompts: [x, y]\nrepeats: 5\nseed: {}"
    first, again, other = ([run.id for run in expand(from_yaml(text.format(seed)))] for seed in (1, 1, 2))
    assert first == again != sorted(first)
    assert other != first and sorted(other) == sorted(first)
    assert [run.id for run in expand(from_yaml(text.format("1\norder: given")))] == sorted(first)


def test_runs_that_differ_in_the_agent_alone_share_their_seed() -> None:
    runs = [*expand(from_yaml("agents: [a, b, c]\nprompts: [x, y]\nrepeats: 3"))]
    seeds: dict[tuple[str, int], set[int]] = {}
    for run in runs:
        seeds.setdefault((run.prompt, run.repeat), set()).add(run.seed)
    assert all(len(each) == 1 for each in seeds.values())
    assert len(set.union(*seeds.values())) == 6


def test_parameters_go_into_a_prompt_and_nothing_is_evaluated() -> None:
    values = {"A": "{B}", "B": "$(id) {A!r}"}
    assert filled("{A} {B} {C} {A.x} {{A}} {}", values) == "{B} $(id) {A!r} {C} {A.x} {{B}} {}"
