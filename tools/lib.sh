# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
# Shared by tools/run and tools/test. Sourced, not run: sets ROOT, goes there, and defines functions.

ROOT="$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")"
cd "$ROOT" || exit 1
JOBS="$(nproc 2>/dev/null || echo 2)"

# make: gcc runs the jobs of link time optimisation by it, at the same time, and warns without.
BUILD_PACKAGES=(gcc cmake make ninja-build pkg-config libc6-dev libck-dev libjansson-dev zlib1g-dev)
TEST_PACKAGES=(g++ python3 libcriterion-dev)

say()
{
    printf 'weir: %s\n' "$*"
}

die()
{
    printf 'weir: %s\n' "$*" >&2
    exit 1
}

# missing_packages <name>... - those that are not installed, one per line
missing_packages()
{
    local name
    for name in "$@"; do
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null)" = installed ] ||
            printf '%s\n' "$name"
    done
}

# How to become root: sudo may ask for a password only where somebody can answer.
if [ "$(id -u)" -eq 0 ]; then
    AS_ROOT=()
elif [ -t 0 ]; then
    AS_ROOT=(sudo)
else
    AS_ROOT=(sudo -n)
fi

# apt_install <name>... - quiet; the package lists are fetched only if what is known does not suffice
apt_install()
{
    local get=("${AS_ROOT[@]}" env DEBIAN_FRONTEND=noninteractive
               apt-get -qq -y -o DPkg::Lock::Timeout=300)
    "${get[@]}" install --no-install-recommends "$@" ||
        { "${get[@]}" update && "${get[@]}" install --no-install-recommends "$@"; }
}

# need_packages <name>... - install what is missing, or stop with the names and the reason
need_packages()
{
    local missing log
    if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
        say "no apt-get here: the equivalents of these Debian packages are taken to be installed: $*"
        return 0
    fi
    mapfile -t missing < <(missing_packages "$@")
    [ "${#missing[@]}" -gt 0 ] || return 0
    say "installing ${missing[*]}"
    log="$(mktemp)"
    if ! apt_install "${missing[@]}" >"$log" 2>&1 </dev/null; then
        tail -n 5 "$log" >&2
        rm -f "$log"
        die "these packages could not be installed; install them and try again: ${missing[*]}"
    fi
    rm -f "$log"
}

# want_package <name> <what is skipped without it> - install if possible; never fails
want_package()
{
    command -v dpkg-query >/dev/null && command -v apt-get >/dev/null || return 0
    [ -n "$(missing_packages "$1")" ] || return 0
    apt_install "$1" >/dev/null 2>&1 </dev/null || say "skipped, as $1 cannot be installed: $2"
}

# build_preset <preset> [target]... - configure quietly, build, keep the warnings
build_preset()
{
    local preset="$1" log
    shift
    log="$(mktemp)"
    if ! cmake --preset "$preset" >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        return 1
    fi
    sed -n '/^-- weir [0-9]/,/weir command/p' "$log"
    rm -f "$log"
    cmake --build "build/$preset" --parallel "$JOBS" ${1:+--target "$@"} -- --quiet
}
