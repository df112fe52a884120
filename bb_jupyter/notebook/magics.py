"""`%%bottle`, `%bottle` and `%%bottle_manifest`: they parse and delegate.

Imported by `%load_ext`, so what a magic needs is imported when it runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from IPython.core.magic import cell_magic, line_magic, magics_class, no_var_expand

from bb_jupyter.notebook.errors import shown_shortly
from bb_jupyter.notebook.settings import Settings

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

_MAGICS = (("line", "bottle"), ("cell", "bottle"), ("cell", "bottle_manifest"), ("cell", "bottle_experiment"))
F = TypeVar("F", bound=Callable[..., object])


def _help_of_cell() -> str:
    from bb_jupyter.notebook.options import cell_parser

    return cell_parser().format_help()


def _help_of_line() -> str:
    from bb_jupyter.notebook import commands

    return commands.overview()


def _help_of_manifest() -> str:
    from bb_jupyter.notebook.manifests import parser

    return parser().format_help()


def _help_of_experiment() -> str:
    from bb_jupyter.notebook.experiment_magic import parser

    return parser().format_help()


def _documented_by(text: Callable[[], str]) -> Callable[[F], F]:
    """Let `?` show *text*, which is made when somebody asks (IPython calls an object's `getdoc`)."""

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
        """Run the cell in a bottle; `%%bottle --help` says how."""
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
        """Watch and handle bottles; `%bottle` alone lists the sub-commands."""
        from bb_jupyter.notebook import commands
        from bb_jupyter.text.tokenise import split

        commands.run(split(line), self.names)

    @_documented_by(_help_of_manifest)
    @no_var_expand
    @cell_magic("bottle_manifest")  # type: ignore[arg-type]
    @shown_shortly
    def bottle_manifest(self, line: str, cell: str) -> None:
        """Define a bottle for this kernel: NAME on the line, YAML or Markdown with frontmatter in the cell."""
        from bb_jupyter.notebook import manifests
        from bb_jupyter.text.tokenise import split

        manifests.define(split(line), cell, self.names)

    @_documented_by(_help_of_experiment)
    @no_var_expand
    @cell_magic("bottle_experiment")  # type: ignore[arg-type]
    @shown_shortly
    def bottle_experiment(self, line: str, cell: str) -> None:
        """Run agents at tasks, many times, and compare them; `%%bottle_experiment --help` says how."""
        from bb_jupyter.notebook import experiment_magic
        from bb_jupyter.text.tokenise import split

        experiment_magic.define_and_run(split(line), cell, self.names)


def load(ip: InteractiveShell) -> None:
    """Register everything with the shell *ip*.  Idempotent."""
    from bb_jupyter.notebook import complete

    ip.register_magics(BottleMagics)
    if _body_for_a_lone_line not in ip.input_transformers_cleanup:
        ip.input_transformers_cleanup.append(_body_for_a_lone_line)
    complete.register(ip)


def unload(ip: InteractiveShell) -> None:
    """Take everything away from the shell *ip* again; bottles run on."""
    from bb_jupyter.notebook import complete

    for kind, name in _MAGICS:
        ip.magics_manager.magics[kind].pop(name, None)
    ip.configurables[:] = [it for it in ip.configurables if not isinstance(it, BottleMagics)]
    if _body_for_a_lone_line in ip.input_transformers_cleanup:
        ip.input_transformers_cleanup.remove(_body_for_a_lone_line)
    complete.unregister(ip)


def _body_for_a_lone_line(lines: list[str]) -> list[str]:
    """Give a lone `%%bottle NAME` or `--help` an empty line as body: IPython refuses a cell magic that has none."""
    words = lines[0].split() if len(lines) == 1 else []
    is_ours = words[:1] in [[f"%%{name}"] for kind, name in _MAGICS if kind == "cell"]
    return [*lines, "\n"] if is_ours and (words[0] == "%%bottle" or not {"-h", "--help"}.isdisjoint(words)) else lines
