#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what takt needs: Debian packages (setup/apt.txt) and the project's own Python
# environment .venv (setup/requirements.lock). Does nothing when everything is there.
#
#   setup/setup.sh          to build and run
#   setup/setup.sh --dev    also what `make test` and `make lint` need (setup/apt-dev.txt)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

lists=(setup/apt.txt)
case "${1:-}" in
  "") ;;
  --dev) lists+=(setup/apt-dev.txt) ;;
  *) echo "usage: setup/setup.sh [--dev]" >&2; exit 2 ;;
esac

python=/usr/bin/python3
venv=.venv
stamp=$venv/setup.stamp
log=build/setup.log

say() { printf 'setup: %s\n' "$*"; }

fail() {
  printf 'setup: %s\n' "$@" >&2
  exit 1
}

# step "what is being done" "what to try when it fails" command...
# Output goes to the log; the terminal shows the elapsed time, a plain log a line every 15 s.
step() {
  local what=$1 remedy=$2 start=$SECONDS shown=0 status=0 pid
  shift 2
  say "$what"
  printf '\n== %s: %s\n' "$what" "$*" >>"$log"
  "$@" >>"$log" 2>&1 </dev/null &
  pid=$!
  # A command in the background doesn't see Ctrl-C by itself.
  trap 'kill "$pid" 2>/dev/null; fail "interrupted: $what"' INT TERM
  while kill -0 "$pid" 2>/dev/null; do
    if [ -t 1 ]; then
      printf '\r  %d s ' $((SECONDS - start))
    elif ((SECONDS - start >= shown + 15)); then
      shown=$((SECONDS - start))
      say "  ... $shown s"
    fi
    sleep 0.2
  done
  wait "$pid" || status=$?
  trap - INT TERM
  [ -t 1 ] && printf '\r\033[K'
  if ((status != 0)); then
    tail -n 25 "$log" >&2
    fail "failed: $what (exit code $status); the whole log is $log" "try: $remedy"
  fi
  say "  done in $((SECONDS - start)) s"
}

packages() { sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "${lists[@]}"; }

missing_packages() {
  local installed
  # dpkg-query fails when it doesn't know one of the names; what it prints is still right.
  installed=$(packages | xargs dpkg-query -W -f='${db:Status-Status} ${Package}\n' 2>/dev/null || true)
  packages | grep -vxF -f <(sed -n 's/^installed //p' <<<"$installed") || true
}

install_packages() {
  local missing as_root=()
  if ! command -v dpkg-query >/dev/null; then
    fail "this set-up is for Debian 12, and dpkg-query is not here" \
         "try: a Debian 12 machine or container, or install the counterparts of setup/apt.txt by hand"
  fi
  mapfile -t missing < <(missing_packages)
  ((${#missing[@]} == 0)) && return
  say "Debian packages missing: ${missing[*]}"
  if ((EUID != 0)); then
    if ! command -v sudo >/dev/null || ! { sudo -n true 2>/dev/null || { [ -t 0 ] && sudo -v; }; }; then
      fail "installing Debian packages needs root or sudo; ask an administrator to run" \
           "  apt-get update && apt-get install --no-install-recommends ${missing[*]}"
    fi
    as_root=(sudo)
  fi
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120)
  step "reading the package lists (apt-get update)" \
       "check the network and /etc/apt/sources.list, then run this again" \
       "${apt[@]}" update
  step "installing ${#missing[@]} Debian packages (a few minutes on a fresh machine)" \
       "see whether 'apt-get install ${missing[*]}' works by itself; takt expects Debian 12" \
       "${apt[@]}" install -y --no-install-recommends "${missing[@]}"
}

# The place is part of the key, because scripts in an environment hold its absolute path.
stamp_key() { { cat setup/requirements.lock; "$python" --version; pwd; } | sha256sum; }

install_venv() {
  local key
  key=$(stamp_key)
  [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$key" ] && return
  if [ -L "$venv" ]; then
    fail "$venv is a link to $(readlink "$venv"), which another checkout uses" \
         "remove the link and run this again; each checkout has its own environment"
  fi
  step "creating the Python environment $venv" \
       "check that 'python3 -m venv' works (package python3-venv) and that the disk has 1 GB free" \
       "$python" -m venv --clear "$venv"
  step "installing the wheels of setup/requirements.lock (about 240 MB, OpenVINO is the largest)" \
       "check the network and pip's configuration ('$venv/bin/pip config list'), then run this again" \
       "$venv/bin/pip" install --disable-pip-version-check --no-deps --require-hashes -r setup/requirements.lock
  step "checking that the wheels load" "delete $venv and run this again" \
       "$venv/bin/python" -c 'import numpy, onnx, openvino, PIL, pytest, yaml'
  printf '%s\n' "$key" >"$stamp"
}

mkdir -p build
: >"$log"
exec 9>build/setup.lock
flock 9 # two set-ups at the same time would install into the same folder
install_packages
install_venv
