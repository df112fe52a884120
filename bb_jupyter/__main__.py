"""`bb-jupyter`: the sub-commands of `%bottle` that work in a terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bb_jupyter.errors import BottleError
from bb_jupyter.notebook import commands
from bb_jupyter.notebook.error_display import HelpWanted
from bb_jupyter.text.visible import visible

PROG = "bb-jupyter"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a sub-command.

    Args:
        argv: the name of the sub-command and its arguments; by default those of this process.

    Returns:
        The exit status: 0, or 1 if the sub-command failed.
    """
    try:
        commands.run(sys.argv[1:] if argv is None else argv, {}, PROG)
    except HelpWanted as help_wanted:
        sys.stdout.write(f"{help_wanted}\n")
    except BottleError as error:
        sys.stderr.write(f"{PROG}: {visible(str(error))}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
