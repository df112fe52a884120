"""From a definition to its runs: every combination, how often, in which order, with which seed."""

from __future__ import annotations

import hashlib
import itertools
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from bb_jupyter.experiment.definition import Definition

_T = TypeVar("_T")
_BRACED = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}", re.ASCII)


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
