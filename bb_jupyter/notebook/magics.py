"""The magics `%%bottle`, `%bottle`, `%%bottle_manifest` and `%%bottle_experiment`, and their settings.

`%load_ext` imports this module, so each magic imports what it needs only when it runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from IPython.core.magic import Magics, cell_magic, line_magic, magics_class, no_var_expand
from traitlets import Float, Integer, TraitError, Unicode, observe, validate

from bb_jupyter.notebook.error_display import shown_shortly

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

_MAGICS = (("line", "bottle"), ("cell", "bottle"), ("cell", "bottle_manifest"), ("cell", "bottle_experiment"))
F = TypeVar("F", bound=Callable[..., object])
_LIMITS = ("memory", "cpus", "pids", "disk", "timeout")


class Settings(Magics):
    """Settings of `%config BottleMagics`: the defaults of every bottle and cell of this kernel.

    A value is checked when it is set; only then are heavy modules imported.
    """

    backend = Unicode("", help="Backend of new bottles; empty for the best one that works on this host.").tag(
        config=True
    )
    memory = Unicode("", help="Memory limit, such as 4g; empty for the built-in default.").tag(config=True)
    cpus = Float(None, allow_none=True, help="Limit of CPUs, such as 1.5; None for no limit.").tag(config=True)
    pids = Integer(None, allow_none=True, help="Limit of processes and threads; None for the built-in default.").tag(
        config=True
    )
    disk = Unicode("", help="Limit of what a bottle stores, such as 4g; empty for the built-in default.").tag(
        config=True
    )
    timeout = Unicode("", help="Time limit of a cell, such as 30m; empty for no limit.").tag(config=True)
    output_cap = Integer(
        1 << 20, min=1 << 10, help="Most bytes of output that a cell shows; the log has all of it."
    ).tag(config=True)

    @property
    def names(self) -> dict[str, Any]:
        """The user's variables."""
        return self.shell.user_ns if self.shell is not None else {}

    @validate("backend")
    def _known_backend(self, proposal: dict[str, Any]) -> str:
        from bb_jupyter.backend import registry
        from bb_jupyter.errors import did_you_mean

        name = str(proposal["value"])
        if name and name not in registry.names():
            raise TraitError(f"there is no backend '{name}'. {did_you_mean(name, registry.names())}")
        return name

    @validate(*_LIMITS)
    def _possible_limit(self, proposal: dict[str, Any]) -> object:
        from bb_jupyter.api import limits_of
        from bb_jupyter.errors import BottleError

        try:
            limits_of(**{proposal["trait"].name: proposal["value"]})
        except BottleError as error:
            raise TraitError(str(error)) from None
        return proposal["value"]

    @observe("backend", *_LIMITS)
    def _push(self, change: object) -> None:
        """Copy the values to the session, so that bottles launched from Python have them too."""
        from bb_jupyter.api import limits_of
        from bb_jupyter.core.launch_options import DEFAULT_LIMITS
        from bb_jupyter.core.session import current

        session = current()
        session.default_backend = self.backend
        limits = limits_of(**{name: getattr(self, name) for name in _LIMITS})
        session.default_limits = DEFAULT_LIMITS.merged(limits)


def _help_of_cell() -> str:
    from bb_jupyter.notebook.options import cell_parser

    return cell_parser().format_help()


def _help_of_line() -> str:
    from bb_jupyter.notebook import commands

    return commands.overview()


def _help_of_manifest() -> str:
    from bb_jupyter.notebook.manifest_magic import parser

    return parser().format_help()


def _help_of_experiment() -> str:
    from bb_jupyter.notebook.experiment_magic import parser

    return parser().format_help()


def _documented_by(text: Callable[[], str]) -> Callable[[F], F]:
    """Return a decorator: `?` shows the result of *text*, called on demand (IPython calls an object's `getdoc`)."""

    def mark(magic: F) -> F:
        magic.getdoc = text  # type: ignore[attr-defined]
        return magic

    return mark


@magics_class
class BottleMagics(Settings):
    """Sandboxed bottles in notebook cells."""

    @_documented_by(_help_of_cell)
    @no_var_expand
    @cell_magic("bottle")  # type: ignore[arg-type]
    @shown_shortly
    def bottle_cell(self, line: str, cell: str) -> None:
        """Run the cell in a bottle; see `%%bottle --help`."""
        from bb_jupyter.core.session import current
        from bb_jupyter.notebook import cell as cells
        from bb_jupyter.notebook.options import cell_parser
        from bb_jupyter.text.tokenise import split

        args = cell_parser().read(split(line), self.names)
        cells.run_cell(current(), args, cell, self.names, cap=self.output_cap)

    @_documented_by(_help_of_line)
    @no_var_expand
    @line_magic("bottle")  # type: ignore[arg-type]
    @shown_shortly
    def bottle_line(self, line: str) -> None:
        """Manage bottles; `%bottle` alone lists the sub-commands."""
        from bb_jupyter.notebook import commands
        from bb_jupyter.text.tokenise import split

        commands.run(split(line), self.names)

    @_documented_by(_help_of_manifest)
    @no_var_expand
    @cell_magic("bottle_manifest")  # type: ignore[arg-type]
    @shown_shortly
    def bottle_manifest(self, line: str, cell: str) -> None:
        """Define a bottle manifest for this kernel: NAME on the line, YAML or Markdown with frontmatter in the cell."""
        from bb_jupyter.notebook import manifest_magic
        from bb_jupyter.text.tokenise import split

        manifest_magic.define(split(line), cell, self.names)

    @_documented_by(_help_of_experiment)
    @no_var_expand
    @cell_magic("bottle_experiment")  # type: ignore[arg-type]
    @shown_shortly
    def bottle_experiment(self, line: str, cell: str) -> None:
        """Run agents on tasks many times, and compare them; see `%%bottle_experiment --help`."""
        from bb_jupyter.notebook import experiment_magic
        from bb_jupyter.text.tokenise import split

        experiment_magic.define_and_run(split(line), cell, self.names)


def load(ip: InteractiveShell) -> None:
    """Register the magics and their completion with the shell *ip*.  Idempotent."""
    from bb_jupyter.notebook import complete

    ip.register_magics(BottleMagics)
    if _body_for_a_lone_line not in ip.input_transformers_cleanup:
        ip.input_transformers_cleanup.append(_body_for_a_lone_line)
    complete.register(ip)


def unload(ip: InteractiveShell) -> None:
    """Remove the magics and their completion from the shell *ip*; bottles keep running."""
    from bb_jupyter.notebook import complete

    for kind, name in _MAGICS:
        ip.magics_manager.magics[kind].pop(name, None)
    ip.configurables[:] = [it for it in ip.configurables if not isinstance(it, BottleMagics)]
    if _body_for_a_lone_line in ip.input_transformers_cleanup:
        ip.input_transformers_cleanup.remove(_body_for_a_lone_line)
    complete.unregister(ip)


def _body_for_a_lone_line(lines: list[str]) -> list[str]:
    """Add an empty body to a lone `%%bottle NAME` or `--help`: IPython refuses a cell magic without a body."""
    words = lines[0].split() if len(lines) == 1 else []
    is_ours = words[:1] in [[f"%%{name}"] for kind, name in _MAGICS if kind == "cell"]
    return [*lines, "\n"] if is_ours and (words[0] == "%%bottle" or not {"-h", "--help"}.isdisjoint(words)) else lines
