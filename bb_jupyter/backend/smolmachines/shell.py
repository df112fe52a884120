"""Scripts that run in a machine, in POSIX shell alone, since an image may have nothing else.

The SDK returns output as text, which would lose bytes that are no UTF-8.  So in the machine each stream goes through a
pump that writes it as frames of base64, each followed by a dot.  Any other text in between is no base64.
"""

from __future__ import annotations

import re
import shlex

from bb_jupyter.backend.plan import GUEST_HOME, GUEST_UID, GUEST_USER

#: Folder in the machine for input that is too long for a request; it belongs to root, so no command can change it.
STAGE = "/tmp/.bottle-stage"  # noqa: S108
#: The first output of the command's shell: its pid, which is later that of the command.
HEADER = re.compile(r"#(\d+)\.")

# Writes a frame as soon as there is data.  Perl is in every Debian; without it, each frame costs two processes.
_PUMP = r"""
if perl -MMIME::Base64 -e 1; then
  pump() { perl -MMIME::Base64 -e '$|=1; while (sysread STDIN, $b, 98304) { print encode_base64($b, ""), "." }'; }
else
  pump() { while b=$(dd bs=49152 count=1 | base64); [ "$b" ]; do printf '%s.' "$b"; done; }
fi
"""
# $1: text that ends each stream, followed by the exit status; all output of the command itself comes before it.
# $2: working directory.  $3: limit of processes.  $4: the input: empty, `-` for base64 on standard input, or files.
# The rest is the command.
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
# An existing directory takes the copy under its own name; otherwise the target is the new name.
_TARGET = '[ -d "$1" ] && printf "%s/%s" "${1%/}" "$2" || printf %s "$1"'
_UNPACK = 'mkdir -p "$1" && tar -xof - -C "$1"'
_PACK = '[ -e "$1" ] || [ -h "$1" ] || { echo "there is no $1" >&2; exit 2; }; exec tar -cf - -C "$2" -- "$3"'


def setup(hosts: str = "") -> list[str]:
    """Return the command that sets up the agent's user and home, to be run as root.

    Args:
        hosts: a line for /etc/hosts; empty for none.
    """
    arguments = [GUEST_HOME, str(GUEST_UID), GUEST_USER, STAGE, hosts]
    return ["/bin/sh", "-c", _SETUP, "setup", *arguments]


def run(argv: list[str], *, nonce: str, cwd: str, pids: int | None, source: str) -> list[str]:
    """Return the command that starts *argv* and reports its output, pid and status.

    Args:
        argv: program and arguments.
        nonce: random text that marks the exit status in the output.
        cwd: working directory.
        pids: most processes of its user.
        source: its input: empty, `-`, or paths of characters that need no quotes.
    """
    return ["/bin/sh", "-c", RUN, "bottle", nonce, cwd, str(pids or ""), source, *argv]


def target(path: str, name: str) -> list[str]:
    """Return the command that prints where a copy named *name* to *path* ends up."""
    return ["/bin/sh", "-c", _TARGET, "sh", path, name]


def unpack(folder: str) -> list[str]:
    """Return the command that unpacks a tar archive from its input in *folder*."""
    return ["/bin/sh", "-c", _UNPACK, "sh", folder]


def pack(path: str, folder: str, name: str) -> list[str]:
    """Return the command that packs *path*, which is *name* in *folder*, to its output."""
    return ["/bin/sh", "-c", _PACK, "sh", path, folder, name]


def remove(paths: list[str]) -> list[str]:
    """Return the command that removes staged input, to be run as root."""
    return ["/bin/sh", "-c", f"rm -f {shlex.join(paths)}"]
