"""`%%bottle`: find or launch the bottle, then run the body of the cell in it."""

from __future__ import annotations

import contextlib
from argparse import Namespace
from collections.abc import Callable, MutableMapping
from dataclasses import fields
from functools import partial

from bb_jupyter.backend import state
from bb_jupyter.core.bottle_handle import BottleHandle
from bb_jupyter.core.launch_options import LaunchOptions
from bb_jupyter.core.session import Session
from bb_jupyter.errors import UsageError
from bb_jupyter.notebook.background import BackgroundRun
from bb_jupyter.notebook.options import duration, environment, launch_options
from bb_jupyter.notebook.script_run import Running, Script, Work, check, say_timeout
from bb_jupyter.notebook.views.display import say
from bb_jupyter.notebook.views.launch_progress import launch

#: Launch options that a later cell may give too; there they apply to that cell alone.
_OF_A_CELL = {"env", "cwd", "user"}


def run_cell(session: Session, args: Namespace, body: str, names: MutableMapping[str, object], *, cap: int) -> None:
    """Run one `%%bottle` cell.

    Args:
        session: the bottles of this process.
        args: the result of `options.cell_parser`.
        body: the cell below the magic; a blank one runs nothing.
        names: the user's variables, for `--out`.
        cap: most bytes of output to show.

    Raises:
        UsageError: an option or a value is wrong.
        BottleError: the bottle cannot be launched or died, or the script failed.
        KeyboardInterrupt: the user interrupted it.
    """
    work = _work(args, body, cap)
    _check_variable(args.out)
    handle = _find_or_launch(session, args)
    if args.bg and body.strip():
        _in_background(work(handle), handle, args, names)
        return
    with contextlib.ExitStack() as stack:
        if args.rm:
            stack.callback(handle.stop)
        if body.strip():
            _run(work(handle), args, names)


def _work(args: Namespace, body: str, cap: int) -> Callable[[BottleHandle], Work]:
    """Return a function that starts the body in a bottle, as a script or as a prompt for its agent.

    Raises:
        UsageError: an option is wrong; no bottle has been launched yet.
    """
    env, timeout = environment(args.env), duration(args.timeout)
    if args.resume and args.new:
        raise UsageError("--resume and --new exclude each other", hint="Use one of them.")
    if not (args.agent or args.resume or args.new):
        return partial(_running, Script(body, env, args.cwd, args.user, timeout, cap))
    if args.user:
        raise UsageError("--user applies to scripts; an agent runs as the user of the bottle", hint="Leave --user out.")
    from bb_jupyter.notebook.agent_cell import AgentCell, Prompt

    prompt = Prompt(body, True if args.resume else False if args.new else None, env, args.cwd, timeout)
    return lambda handle: AgentCell(handle, prompt)


def _running(script: Script, handle: BottleHandle) -> Running:
    return Running(handle, script)


def _run(work: Work, args: Namespace, names: MutableMapping[str, object]) -> None:
    result = work.show()
    if args.out:
        names[args.out] = result
    if result.interrupted or not args.no_raise_error:
        check(work.name, result)
    say_timeout(work.name, result)


def _in_background(work: Work, handle: BottleHandle, args: Namespace, names: MutableMapping[str, object]) -> None:
    say(f"{handle.name}: running in the background")
    background = BackgroundRun(work, report_failure=not args.no_raise_error, after=handle.stop if args.rm else _nothing)
    if args.out:
        names[args.out] = background


def _find_or_launch(session: Session, args: Namespace) -> BottleHandle:
    options = launch_options(args)
    if args.fresh and any(record.name == args.name for record in state.records()):
        session.stop(args.name)
    if not any(handle.name == args.name for handle in session.handles()):
        return launch(session, args.name, options)
    handle = session.get(args.name)
    _check_same(handle, options)
    return handle


def _check_same(handle: BottleHandle, given: LaunchOptions) -> None:
    """Refuse a launch option whose value is not that of the running bottle.

    Raises:
        UsageError: an option differs.
    """
    launched, nothing = handle.options, LaunchOptions()
    for field in fields(LaunchOptions):
        value = getattr(given, field.name)
        is_new = launched is not None and value != getattr(launched, field.name)
        if field.name not in _OF_A_CELL and value != getattr(nothing, field.name) and is_new:
            raise UsageError(
                f"bottle '{handle.name}' is running and was launched with another {_option(field.name)}",
                hint="Leave the option out to use the bottle as it is, or add --fresh to replace the bottle.",
            )


def _option(field: str) -> str:
    return "limit" if field == "limits" else f"--{field}"


def _check_variable(name: str) -> None:
    if name and not name.isidentifier():
        raise UsageError(f"--out: {name!r} is not the name of a variable")


def _nothing() -> None:
    """Do nothing."""
