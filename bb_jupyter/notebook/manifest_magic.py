"""`%%bottle_manifest NAME`: define a bottle manifest for this kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bb_jupyter.manifest import BottleManifest, define_bottle, format_duration, format_size
from bb_jupyter.notebook.parser import Parser
from bb_jupyter.notebook.views.display import say


def parser() -> Parser:
    """Return the parser of the line."""
    parser = Parser(
        "%%bottle_manifest",
        "NAME",
        "Define a bottle manifest for this kernel.  The cell holds YAML, or Markdown with YAML frontmatter.",
    )
    parser.add_argument("bottle", metavar="NAME", help="name for `%%%%bottle ... --bottle NAME`")
    return parser


def define(words: Sequence[str], text: str, names: Mapping[str, object]) -> None:
    """Define the manifest of a cell, and print in one line what it sets.

    Raises:
        UsageError: the name is not allowed.
        ManifestError: the manifest is wrong; the message has line and key.
    """
    name = parser().read(words, names).bottle
    say(f"defined bottle {name}: {summary(define_bottle(name, text))}")


def summary(manifest: BottleManifest) -> str:
    """Return in one line what *manifest* sets."""
    parts = {
        "extends": ", ".join(manifest.extends),
        "image": manifest.image or manifest.dockerfile,
        "environment": ", ".join(manifest.env),
        "copies": ", ".join(manifest.copies),
        "network": ", ".join(route.host for route in manifest.egress.routes),
        "git": ", ".join(manifest.git_gate.repos),
        "supervised": "yes" if manifest.supervise else "",
        "limits": ", ".join(_limit(*pair) for pair in manifest.limits.model_dump(exclude_none=True).items()),
    }
    return "; ".join(f"{label}: {text}" for label, text in parts.items() if text) or "nothing set"


def _limit(name: str, value: float) -> str:
    if name in ("memory", "disk"):
        return f"{name} {format_size(int(value))}"
    return f"{name} {format_duration(value) if name == 'timeout' else value}"
