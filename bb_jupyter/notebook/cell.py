"""`%%bottle`: find or launch the bottle, run the cell's body in it."""

from __future__ import annotations

import contextlib
from argparse import Namespace
from collections.abc import MutableMapping
from dataclasses import fields

from bb_jupyter.backend import state
from bb_jupyter.errors import UsageError
from bb_jupyter.notebook.background import BackgroundRun
from bb_jupyter.notebook.display import say
from bb_jupyter.notebook.launching import launch
from bb_jupyter.notebook.options import duration, environment, launch_options
from bb_jupyter.notebook.running import Running, Script, check
from bb_jupyter.session import HeldBottle, LaunchOptions, Session

#: Launch options that a later cell may give too: they then hold for that cell.
_OF_A_CELL = {"env", "cwd", "user"}


def run_cell(session: Session, args: Namespace, body: str, names: MutableMapping[str, object], *, cap: int) -> None:
    """Run one `%%bottle` cell.

    Args:
        session: holds the bottles.
        args: what `options.cell_parser` read.
        body: the cell below the magic; nothing is run when it is blank.
        names: the user's variables, for `--out`.
        cap: most bytes of output to show.

    Raises:
        UsageError: an option or a value is wrong.
        BottleError: the bottle cannot be launched, died, or the script failed.
        KeyboardInterrupt: the user interrupted it.
    """
    script = Script(body, environment(args.env), args.cwd, args.user, duration(args.timeout), cap)
    _check_variable(args.out)
    held = _find_or_launch(session, args)
    if args.bg and body.strip():
        _in_background(held, script, args, names)
        return
    with contextlib.ExitStack() as stack:
        if args.rm:
            stack.callback(held.stop)
        if body.strip():
            _run(held, script, args, names)


def _run(held: HeldBottle, script: Script, args: Namespace, names: MutableMapping[str, object]) -> None:
    result = Running(held, script).show()
    if args.out:
        names[args.out] = result
    if result.interrupted or not args.no_raise_error:
        check(held.name, result)


def _in_background(held: HeldBottle, script: Script, args: Namespace, names: MutableMapping[str, object]) -> None:
    running = Running(held, script)
    say(f"{held.name}: running in the background")
    handle = BackgroundRun(running, tell=not args.no_raise_error, after=held.stop if args.rm else _nothing)
    if args.out:
        names[args.out] = handle


def _find_or_launch(session: Session, args: Namespace) -> HeldBottle:
    options = launch_options(args)
    _refuse_agent(session, args.name, options)
    if args.fresh and any(record.name == args.name for record in state.records()):
        session.stop(args.name)
    if not any(held.name == args.name for held in session.held()):
        return launch(session, args.name, options)
    held = session.get(args.name)
    _check_same(held, options)
    return held


def _refuse_agent(session: Session, name: str, options: LaunchOptions) -> None:
    """The one place where a cell's body will become an agent's prompt."""
    if options.agent:
        session.plan(name, options)  # a wrong name is told first
        raise UsageError("cells cannot run agents yet", hint="Without --agent the cell is a shell script.")


def _check_same(held: HeldBottle, given: LaunchOptions) -> None:
    """Refuse an option that only a launch can follow and that differs from how the bottle was launched."""
    launched, nothing = held.options, LaunchOptions()
    for field in fields(LaunchOptions):
        value = getattr(given, field.name)
        is_new = launched is not None and value != getattr(launched, field.name)
        if field.name not in _OF_A_CELL and value != getattr(nothing, field.name) and is_new:
            raise UsageError(
                f"bottle '{held.name}' runs already, launched with another {_option(field.name)}",
                hint="--fresh stops it and launches a new one; without the option the cell runs in it as it is.",
            )


def _option(field: str) -> str:
    return "limit" if field == "limits" else f"--{field}"


def _check_variable(name: str) -> None:
    if name and not name.isidentifier():
        raise UsageError(f"--out: not a name of a variable: {name!r}")


def _nothing() -> None:
    """Do nothing."""
