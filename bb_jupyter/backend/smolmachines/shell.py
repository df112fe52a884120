"""What runs in a machine: POSIX shell only, for an image may have nothing else.

The SDK hands output on as text, so bytes that are no UTF-8 would be lost: in the machine each stream goes through a
pump that writes it as frames of base64, a dot behind each.  Everything else that may come between is no base64.
"""

from __future__ import annotations

import re
import shlex

from bb_jupyter.backend.plan import GUEST_HOME, GUEST_UID, GUEST_USER

#: Folder in the machine for input that is too long for a request; root's, so that no command can bend it.
STAGE = "/tmp/.bottle-stage"  # noqa: S108
#: What the command's shell tells first: its pid, which stays that of the command.
HEADER = re.compile(r"#(\d+)\.")

# Frames of what is there, as soon as it is there.  Perl is in every Debian; without it a process or two each frame.
_PUMP = r"""
if perl -MMIME::Base64 -e 1; then
  pump() { perl -MMIME::Base64 -e '$|=1; while (sysread STDIN, $b, 98304) { print encode_base64($b, ""), "." }'; }
else
  pump() { while b=$(dd bs=49152 count=1 | base64); [ "$b" ]; do printf '%s.' "$b"; done; }
fi
"""
# $1: what ends each stream, with the exit status behind it: all that the command itself wrote comes before.
# $2: working directory.  $3: limit of processes.  $4: where the input is: nothing, `-` for base64 on our own, else
# files.  The rest is the command.
RUN = (
    r"exec 3>&1 4>&2 2>/dev/null"
    + _PUMP
    + r"""
nonce=$1 input=$4
command='echo "#$$." >&3
exec 3>&- 4>&-
[ -z "$2" ] || ulimit -u "$2" 2>/dev/null || ulimit -p "$2" 2>/dev/null
cd "$1" || exit 126
shift 2
exec "$@"'
session=$(command -v setsid)
start() { folder=$2 pids=$3; shift 4; $session /bin/sh -c "$command" sh "$folder" "$pids" "$@" 2>&6 6>&-; }
{
  {
    case $input in
      '') start "$@" </dev/null ;;
      -) { base64 -d; } | start "$@" ;;
      *) cat $input | start "$@" ;;
    esac
    status=$?
    printf '\036%s %d\n' "$nonce" $status
    printf '\036%s %d\n' "$nonce" $status >&6
  } 4>&- | pump >&3 6>&- 4>&-
} 6>&1 | pump >&4 3>&-
"""
)

_SETUP = r"""
home=$1 id=$2 name=$3 stage=$4 hosts=$5
mkdir -p "$home" && chown "$id:$id" "$home" 2>/dev/null
mkdir -p "$stage" && chmod 755 "$stage" || exit
if ! grep -q "^[^:]*:[^:]*:$id:" /etc/passwd 2>/dev/null; then
  echo "$name:x:$id:$id::$home:/bin/sh" >>/etc/passwd
  grep -q "^[^:]*:[^:]*:$id:" /etc/group 2>/dev/null || echo "$name:x:$id:" >>/etc/group
fi 2>/dev/null
[ -z "$hosts" ] || echo "$hosts" >>/etc/hosts
[ -d "$home" ]
"""
# A directory takes what is copied under its own name; else the target is what it becomes.
_TARGET = '[ -d "$1" ] && printf "%s/%s" "${1%/}" "$2" || printf %s "$1"'
_UNPACK = 'mkdir -p "$1" && tar -xof - -C "$1"'
_PACK = '[ -e "$1" ] || [ -h "$1" ] || { echo "there is no $1" >&2; exit 2; }; exec tar -cf - -C "$2" -- "$3"'


def setup(hosts: str = "") -> list[str]:
    """Return what makes an image a home, to be run as root.

    Args:
        hosts: a line for /etc/hosts; empty for none.
    """
    arguments = [GUEST_HOME, str(GUEST_UID), GUEST_USER, STAGE, hosts]
    return ["/bin/sh", "-c", _SETUP, "setup", *arguments]


def run(argv: list[str], *, nonce: str, cwd: str, pids: int | None, source: str) -> list[str]:
    """Return what starts *argv* so that its bytes, pid and status come out.

    Args:
        argv: program and arguments.
        nonce: what nobody else writes to its output.
        cwd: working directory.
        pids: most processes of its user.
        source: its input: empty, `-`, or paths, of characters that need no quotes.
    """
    return ["/bin/sh", "-c", RUN, "bottle", nonce, cwd, str(pids or ""), source, *argv]


def target(path: str, name: str) -> list[str]:
    """Return what tells where a copy of something called *name* to *path* comes to lie."""
    return ["/bin/sh", "-c", _TARGET, "sh", path, name]


def unpack(folder: str) -> list[str]:
    """Return what unpacks a tar archive of its input in *folder*."""
    return ["/bin/sh", "-c", _UNPACK, "sh", folder]


def pack(path: str, folder: str, name: str) -> list[str]:
    """Return what packs *path*, which is *name* in *folder*, to its output."""
    return ["/bin/sh", "-c", _PACK, "sh", path, folder, name]


def remove(paths: list[str]) -> list[str]:
    """Return what removes staged input, to be run as root."""
    return ["/bin/sh", "-c", f"rm -f {shlex.join(paths)}"]
