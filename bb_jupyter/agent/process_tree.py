"""End a command and every process that it started, from inside its bottle.

Some backends have no other way to do it, and neither has an agent's run anywhere: an agent may start processes in
sessions of their own (Codex does), so the end of its session would leave them running.  An agent gets SIGINT first and
half a second.  Killed at once, Claude Code loses what it did since its last write, sometimes the whole conversation;
interrupted, it needs a tenth of a second.
"""

from __future__ import annotations

import contextlib
import posixpath
import secrets
from collections.abc import Callable, Sequence

from bb_jupyter.agent.guest import Guest
from bb_jupyter.agent.provision_plan import BOTTLE_FOLDER
from bb_jupyter.errors import BottleError

#: Output of `kill_command` when no process is left.
GONE = b"gone\n"
#: Seconds that the end of an agent may take.
_TIMEOUT = 5.0
# Writes the command's pid to $0 and becomes the command.
_START = 'mkdir -p "${0%/*}" && echo $$ >"$0"; exec "$@"'
# Needs only the builtins of a POSIX shell (and `sleep`, if there is a grace period).
# $1: pid of the command, which leads a session.  $2: tenths of a second between SIGINT and SIGKILL; empty: no SIGINT.
# A process is doomed if it is in the session or group of a doomed one, or its child.  The descendants are noted before
# SIGINT: afterwards some may have lost their parent.  SIGKILL goes out until no new process is found, since a process
# may be started at any moment.  The leader is killed first: a shell whose children die before it would end by itself,
# with their status or with 0.
_KILL = r"""
exec 2>/dev/null
leader=$1 grace=$2 doomed=" $1 " new= killed= round=0
look() {
  more=yes
  while [ "$more" ]; do
    more=
    for file in /proc/[0-9]*/stat; do
      pid=${file#/proc/} pid=${pid%/stat} text=
      case $killed$new in *" $pid "*) continue ;; esac
      while IFS= read -r line || [ "$line" ]; do text="$text $line"; done < "$file"
      # The name is in parentheses; after it come state, parent, group and session (proc(5)).
      set -f; set -- ${text##*)}; set +f
      case $1 in ''|Z|X) continue ;; esac
      case $doomed in *" $pid "*|*" $2 "*|*" $3 "*|*" $4 "*) new="$new $pid " doomed="$doomed$pid " more=yes ;; esac
    done
  done
}
if [ "$grace" ]; then
  look
  kill -INT "$leader"
  while [ "$grace" -gt 0 ] && kill -0 "$leader"; do sleep 0.1; grace=$((grace - 1)); done
fi
while [ $((round += 1)) -le 50 ]; do
  look
  [ "$new" ] || { echo gone; exit 0; }
  case $new in *" $leader "*) new="$leader$new" ;; esac
  kill -9 $new
  killed=$killed$new
  new=
done
exit 1
"""
# $1: the file with the pid.  $2: the script above.
_INTERRUPT = 'read -r leader <"$1" 2>/dev/null || exit 0; exec sh -c "$2" sh "$leader" 5'


def kill_command(pid: int) -> list[str]:
    """Return the command that kills process *pid* and all that it started; the same user has to run it."""
    return ["/bin/sh", "-c", _KILL, "kill", str(pid), ""]


def interruptible(bottle: Guest, home: str, argv: Sequence[str]) -> tuple[list[str], Callable[[], None]]:
    """Make a command that can be interrupted and, half a second later, killed with all that it started.

    Args:
        bottle: where it will run.
        home: the agent's home in the bottle.
        argv: program and arguments.

    Returns:
        The command to run instead of *argv*, and a function that ends it; any thread may call that.
    """
    pid_file = posixpath.join(home, BOTTLE_FOLDER, "run", secrets.token_hex(8))

    def end() -> None:
        with contextlib.suppress(BottleError):
            bottle.exec(["sh", "-c", _INTERRUPT, "sh", pid_file, _KILL], timeout=_TIMEOUT).wait()

    return ["sh", "-c", _START, pid_file, *argv], end
