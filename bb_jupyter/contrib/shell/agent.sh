#!/bin/sh
# A scripted agent: reads steps from its standard input, does them, and prints what it does as bb_jupyter's agent events,
# one JSON object a line.  Usage: sh agent.sh SESSION.  Needs a POSIX shell, sed, tr, head and tail: busybox is enough.
#
#   think TEXT       thinks aloud
#   say TEXT         says something
#   run COMMAND      runs a shell command; its output and exit status are the tool's result
#   write PATH       writes a file: the lines below that begin with '|'
#   ask QUESTION     asks the human, where the bottle has one; the answer is the tool's result
#   mcp TOOL JSON    calls another of the human's tools with arguments, such as: mcp report {"status":"half way"}
#   done ANSWER      ends well, with an answer in Markdown
#   fail MESSAGE     ends badly
#
# A line that begins with '|' goes on with the step above it, without the '|' and one space behind it.
# Empty lines and lines that begin with '#' are skipped.
# Without `done` the answer is the last thing said.  In commands $TURN counts the prompts of this conversation.
set -u
session=$1
folder=$HOME/.bottle/shell
scratch=$folder/output.$$ # not below /tmp, which the smallest images have not
mkdir -p "$folder" && echo . >>"$folder/$session" || exit 1
trap 'rm -f "$scratch"' EXIT
newline='
'
most=200000 # bytes of a result that are shown, as other agents cut long ones too

# Text from standard input as the inside of a JSON string; other control characters stay, its reader takes them.
quoted() { tr -d '\000' | sed -e 's/[\\"]/\\&/g' -e '$!s/$/\\n/' | tr -d '\n'; }
event() { # event TYPE FIELD TEXT
  printf '{"type":"%s","%s":"' "$1" "$2"; printf '%s\n' "$3" | quoted; printf '"}\n'
}
called() { # called NAME FIELD TEXT
  calls=$((calls + 1))
  printf '{"type":"tool_call","id":"%s","name":"%s","input":{"%s":"' "$calls" "$1" "$2"
  printf '%s\n' "$3" | quoted; printf '"}}\n'
}
answered() { # answered STATUS, the output in $scratch
  failed=false; [ "$1" -eq 0 ] || failed=true
  printf '{"type":"tool_result","id":"%s","error":%s,"output":"' "$calls" "$failed"
  [ "$1" -eq 0 ] || { [ -z "$(tail -c 1 "$scratch")" ] || echo; echo "exit status $1"; } >>"$scratch"
  head -c "$most" "$scratch" | quoted; printf '"}\n'
}
finish() { # finish KIND FIELD TEXT STATUS
  printf '{"type":"usage","turns":%s}\n' "$calls"
  event "$1" "$2" "$3"
  exit "$4"
}

run() {
  called run command "$1"
  TURN=$turn sh -c "$1" </dev/null >"$scratch" 2>&1
  answered $?
}
write() {
  path=${1%%"$newline"*}
  called write path "$path"
  case $1 in *"$newline"*) content=${1#*"$newline"}$newline ;; *) content= ;; esac
  : >"$scratch" # discards the output of the step before
  case $path in */*) mkdir -p "${path%/*}" 2>"$scratch" ;; esac
  { printf '%s' "$content" >"$path"; } 2>>"$scratch"
  answered $?
}
ask() {
  called ask question "$1"
  human ask "{\"question\":\"$(printf '%s\n' "$1" | quoted)\"}"
}
mcp() {
  tool=${1%%[ "$newline"]*} input=$(printf '%s' "${1#*[ "$newline"]}" | tr '\n\000' '  ')
  calls=$((calls + 1))
  printf '{"type":"tool_call","id":"%s","name":"%s","input":%s}\n' "$calls" "$tool" "$input"
  human "$tool" "$input"
}
human() { # human TOOL JSON: calls a tool of the MCP server by which this bottle reaches its human
  url=$(cat "$folder/supervise" 2>/dev/null) || {
    echo "this bottle has no human to ask: its manifest does not say 'supervise: true'" >"$scratch"
    answered 1
    return
  }
  post "$url" "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"$1\",\"arguments\":$2}}" \
    >"$scratch" 2>&1 || { status=$?; answered "$status"; return; }
  # The answer is a line of JSON, alone or as an event; its text is inside of a JSON string as it must be here.
  text=$(sed -n 's/^\(data: \)\{0,1\}{.*"text":"\(\(\\.\|[^"\\]\)*\)".*$/\2/p' "$scratch")
  failed=true; grep -q '"isError":false' "$scratch" && failed=false
  printf '{"type":"tool_result","id":"%s","error":%s,"output":"%s"}\n' "$calls" "$failed" "$text"
}
post() { # post URL BODY, by whatever this image has
  type='Content-Type: application/json' accept='Accept: application/json, text/event-stream'
  if command -v curl >/dev/null; then
    curl -sS --noproxy '*' -H "$type" -H "$accept" --data-binary "$2" "$1"
  elif command -v wget >/dev/null; then  # busybox's does not know no_proxy
    http_proxy= wget -q -O - --header "$type" --header "$accept" --post-data "$2" "$1"
  else
    python3 -c 'import sys, urllib.request as u
headers = dict(h.split(": ") for h in sys.argv[3:])
print(u.urlopen(u.Request(sys.argv[1], sys.argv[2].encode(), headers)).read().decode())' "$1" "$2" "$type" "$accept"
  fi
}

step() { # step NUMBER STEP
  word=${2%%[ "$newline"]*}
  case $2 in "$word") rest= ;; *) rest=${2#"$word"?} ;; esac
  case $word in
  think) event thinking text "$rest" ;;
  say) last=$rest; event text text "$rest" ;;
  run | write | ask | mcp) "$word" "$rest" ;;
  done) finish final text "$rest" 0 ;;
  fail) finish failure message "$rest" 1 ;;
  *) finish failure message "line $1: no step begins so: ${word:-a space}; steps are think, say, run, write, ask, mcp, done, fail" 2 ;;
  esac
}

turn=$(($(wc -c <"$folder/$session") / 2))
calls=0 last= number=0 current= started=0
printf '{"type":"started","session":"%s","model":"script"}\n' "$session"
while IFS= read -r line || [ -n "$line" ]; do
  number=$((number + 1))
  case $line in
  '|'*) more=${line#'|'}; current=$current$newline${more#' '} ; continue ;;
  esac
  [ -z "$current" ] || step "$started" "$current"
  current= started=$number
  case $line in '' | '#'*) ;; *) current=$line ;; esac
done
[ -z "$current" ] || step "$started" "$current"
finish final text "$last" 0
