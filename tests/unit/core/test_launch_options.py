"""Launch options combined with manifests: which value wins, and what a wrong one is refused with."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from bb_jupyter.backend.spec import BottleSpec
from bb_jupyter.core.launch_options import DEFAULT_LIMITS, LaunchOptions
from bb_jupyter.errors import ManifestError, UsageError
from bb_jupyter.manifest import Limits


def resolved(options: LaunchOptions, project: Path = Path("/project")) -> BottleSpec:
    return options.resolve("demo", backend="bubblewrap", reason="a test", project=project, limits=DEFAULT_LIMITS)


def test_without_options_there_are_only_defaults() -> None:
    spec = resolved(LaunchOptions())
    assert (spec.name, spec.backend, spec.backend_reason) == ("demo", "bubblewrap", "a test")
    assert (spec.limits, spec.env, spec.copies, spec.agent) == (DEFAULT_LIMITS, {}, (), None)


def test_options_win_over_the_manifest_and_the_manifest_over_defaults(home: Path) -> None:
    (home / "bottles").mkdir()
    (home / "bottles" / "b.md").write_text("---\nenv: {A: one, B: two}\nlimits: {pids: 9, memory: 1g}\n---\n")
    spec = resolved(LaunchOptions(bottle="b", env={"B": "three"}, limits=Limits(pids=7)))
    assert spec.env == {"A": "one", "B": "three"}
    assert spec.limits == DEFAULT_LIMITS.merged(Limits(pids=7, memory=1 << 30))


@pytest.mark.parametrize(
    ("text", "source", "target"),
    [
        ("data", "/project/data", "data"),
        ("data:in/side", "/project/data", "in/side"),
        ("/abs/file:f", "/abs/file", "f"),
    ],
)
def test_copies_are_relative_to_the_project(text: str, source: str, target: str) -> None:
    copy = resolved(LaunchOptions(copy=(text,))).copies[0]
    assert (copy.source, copy.target) == (Path(source), PurePosixPath(target))


def test_a_copy_without_a_source_is_refused() -> None:
    with pytest.raises(UsageError, match="not a copy: ':x'"):
        resolved(LaunchOptions(copy=(":x",)))


def test_a_manifest_that_is_missing_is_named(home: Path) -> None:
    with pytest.raises(ManifestError, match="nothing-there"):
        resolved(LaunchOptions(bottle="nothing-there"))
