"""Kill a command with all it started, from inside its bottle: what backends run there that have no other way."""

from __future__ import annotations

#: What `SCRIPT` prints once nobody is left.
GONE = b"gone\n"
# Runs in the bottle with nothing but the builtins of a POSIX shell.  $1 is the command, which leads a session.
# Doomed is whoever is of its session or group, or a child of a doomed one; SIGKILL all, until a look finds nobody new.
# The leader comes first: a shell whose children die before it ends by itself, with their status or with 0.
SCRIPT = r"""
exec 2>/dev/null
doomed=" $1 " round=0
while [ $((round += 1)) -le 50 ]; do
  new= look=again
  while [ "$look" ]; do
    look=
    for file in /proc/[0-9]*/stat; do
      pid=${file#/proc/} pid=${pid%/stat} text=
      case $killed$new in *" $pid "*) continue ;; esac
      while IFS= read -r line || [ "$line" ]; do text="$text $line"; done < "$file"
      set -f; set -- "$1" ${text##*)}; set +f
      case $2 in ''|Z|X) continue ;; esac
      case $doomed in *" $pid "*|*" $3 "*|*" $4 "*|*" $5 "*) new="$new $pid " doomed="$doomed$pid " look=again ;; esac
    done
  done
  [ "$new" ] || { echo gone; exit 0; }
  case $new in *" $1 "*) new="$1$new" ;; esac
  kill -9 $new
  killed="$killed$new"
done
exit 1
"""


def command(pid: int) -> list[str]:
    """Return what to run in the bottle, as the user of the command, to kill process *pid* and all it started."""
    return ["/bin/sh", "-c", SCRIPT, "kill", str(pid)]
