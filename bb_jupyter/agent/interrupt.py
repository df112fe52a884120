"""Ending an agent so that it can go on later: it is told first, as by Ctrl-C, and gets a moment to write things down.

Killed at once, Claude Code forgets what it did since its last write, sometimes the whole conversation; told, it needs a
tenth of a second.  What the agent started may be in sessions of its own (Codex does that), where the end of the agent
would leave it running: so everything that descends from it is noted before, and killed after, until nobody new is
found: a process may be started at any moment of this.
"""

from __future__ import annotations

import contextlib
import posixpath
import secrets
from collections.abc import Callable, Sequence

from bb_jupyter.agent.guest import Guest
from bb_jupyter.agent.provision_plan import BOTTLE_FOLDER
from bb_jupyter.errors import BottleError

#: Seconds that the whole may take, of which the agent gets half a second.
_PATIENCE = 5.0
_START = 'mkdir -p "${0%/*}" && echo $$ >"$0"; exec "$@"'
# In nothing but POSIX sh; a process's /proc/PID/stat has its name in parentheses, then state, parent, group, session.
_END = r"""
exec 2>/dev/null
read -r leader <"$1" || exit 0
family=" $leader "
look() {
  more=yes
  while [ "$more" ]; do
    more=
    for file in /proc/[0-9]*/stat; do
      pid=${file#/proc/} pid=${pid%/stat}
      case $family in *" $pid "*) continue ;; esac
      read -r line <"$file" || continue
      set -f; set -- ${line##*)}; set +f
      case $family in *" $2 "* | *" $3 "* | *" $4 "*) family="$family$pid " more=yes ;; esac
    done
  done
}
look
kill -INT "$leader"
for tenth in 1 2 3 4 5; do kill -0 "$leader" || break; sleep 0.1; done
known=
while [ "$known" != "$family" ]; do
  look
  known=$family
  kill -KILL $family
  look
done
"""


def interruptible(bottle: Guest, home: str, argv: Sequence[str]) -> tuple[list[str], Callable[[], None]]:
    """Return *argv* so that it can be told to end, and what tells it, from any thread.

    Args:
        bottle: where it will run.
        home: the agent's home in the bottle.
        argv: program and arguments.
    """
    note = posixpath.join(home, BOTTLE_FOLDER, "run", secrets.token_hex(8))

    def end() -> None:
        with contextlib.suppress(BottleError):
            bottle.exec(["sh", "-c", _END, "sh", note], timeout=_PATIENCE).wait()

    return ["sh", "-c", _START, note, *argv], end
