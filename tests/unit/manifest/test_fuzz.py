"""Whatever a file holds, the answer is a manifest or one ManifestError of at most two printable lines."""

from __future__ import annotations

import string
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bb_jupyter.errors import ManifestError
from bb_jupyter.manifest import load_bottle, parse_bottle

_KEYS = ["env", "egress", "routes", "host", "auth", "token_ref", "git-gate", "repos", "url", "limits", "memory", "x"]
_SCRAPS = [
    *_KEYS,
    ": ",
    "- ",
    "\n",
    "\n  ",
    "{",
    "}",
    "[",
    "]",
    ", ",
    "---\n",
    "&a ",
    "*a",
    "!!set ",
    "? ",
    "| ",
    '"',
    "'",
]
_texts = st.text(max_size=200) | st.lists(
    st.sampled_from([*_SCRAPS, "\\U", "%YAML 1.1\n", "4g", "\x85", "~", "#"])
).map("".join)
_leaves = st.none() | st.booleans() | st.integers() | st.text(string.printable, max_size=10)
_trees = st.recursive(
    _leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS), inner), max_leaves=12
)


def _fine(text: str) -> None:
    try:
        assert parse_bottle(text, name="demo").name == "demo"
    except ManifestError as error:
        lines = str(error).split("\n")
        assert len(lines) <= 2 and all(line.isprintable() for line in lines)


@given(_texts)
def test_any_text(text: str) -> None:
    _fine(text)
    _fine(f"---\n{text}\n---\n")


@given(st.dictionaries(st.sampled_from(_KEYS), _trees))
def test_any_tree(tree: dict[str, object]) -> None:
    import yaml

    _fine(yaml.safe_dump(tree))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_any_bytes(home: Path, data: bytes) -> None:
    file = home / "bottles" / "any.md"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    try:
        load_bottle("any")
    except ManifestError as error:
        assert str(error).startswith(str(file))
