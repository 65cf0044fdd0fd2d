#!/usr/bin/env bash
# Set up a checkout: system packages if missing, the virtual environment, pip packages, Kafka's jars.
# Every step says what it does, is skipped when done, and can be repeated after an interruption.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=.venv
stamp=.setup/requirements.sha256

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
fail() { printf 'hermes: %s\n' "$*" >&2; exit 1; }

missing=()
need() { command -v "$1" >/dev/null 2>&1 || missing+=("$2"); }
need g++ g++
need make make
need python3 python3
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
# Not grep -q: it may end before ldconfig has written all, which then fails.
ldconfig -p 2>/dev/null | grep 'libseccomp\.so\.2' >/dev/null || missing+=(libseccomp2)

# With a container engine here, toolchain images can be made; without mmdebstrap, bubblewrap it is.
if [ -S /var/run/docker.sock ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  need mmdebstrap mmdebstrap
fi

if ((${#missing[@]})); then
  command -v apt-get >/dev/null 2>&1 || fail "please install: ${missing[*]}"
  [ "$(id -u)" = 0 ] || fail "please install: sudo apt-get install ${missing[*]}"
  say "installing system packages: ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "Hermes needs Python 3.11 or newer"

if [ ! -x $venv/bin/python ]; then
  say "making a virtual environment in $venv"
  python3 -m venv $venv
fi

wanted=$(cat requirements/all.txt pyproject.toml | sha256sum)
if [ "$(cat $stamp 2>/dev/null || true)" != "$wanted" ]; then
  say "installing Python packages, pinned by version and hash"
  $venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/all.txt
  $venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
  mkdir -p .setup
  printf '%s\n' "$wanted" >$stamp
fi

$venv/bin/python -m infra.embedded
