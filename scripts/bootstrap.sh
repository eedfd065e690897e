#!/bin/sh
# Makes this machine able to run ImageSys: the system packages that are missing, then .local/venv as requirements-dev.lock
# says. It needs git, make, curl and a Python 3.10+ with pip or venv; it says nothing when there is nothing to do, and it
# never starts a system service.
set -eu

project=$(cd "$(dirname "$0")/.." && pwd)
tools=$project/.local/tools
venv=$project/.local/venv
lock=$project/requirements-dev.lock
browser_lock=$project/tests/browser/requirements.lock
python=${PYTHON:-python3}
policy=/usr/sbin/policy-rc.d
policy_is_ours=no
root=
purpose=${1:-run} # `tests` also brings what only tests need, `browser` what the browser tests, `docs` graphviz, `bench` what `make bench-images`

say() { printf 'bootstrap: %s\n' "$*"; }

fail() {
    printf 'bootstrap: %s\n' "$*" >&2
    exit 3
}

# --- system packages -------------------------------------------------------------------------------------------------

has() { PATH="$PATH:/usr/sbin:/sbin:/usr/local/sbin" command -v "$1" >/dev/null 2>&1; }

# `python3 -m venv` copies no headers: it is the base interpreter that has them or not.
has_python_header() {
    "$python" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))'
}

can_make_venv() { "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; }

has_pip() { "$python" -m pip --version >/dev/null 2>&1; }

# The header decides, not `mysql_config`: only the development package brings it.
has_mysql_header() { [ -e /usr/include/mariadb/mysql.h ] || [ -e /usr/include/mysql/mysql.h ]; }

missing_packages() {
    has mariadbd && has mariadb-install-db || echo mariadb-server-core
    has mariadb || echo mariadb-client-core
    has sshd || echo openssh-server
    { has ssh && has ssh-keygen; } || echo openssh-client
    has rsync || echo rsync
    has_mysql_header || echo default-libmysqlclient-dev
    has pkg-config || echo pkg-config
    { has gcc || has cc; } || echo "gcc libc6-dev"
    has_python_header || echo python3-dev
    has_pip || can_make_venv || echo python3-venv
    if [ "$purpose" = tests ]; then
        has docker-compose || echo docker-compose
        has logrotate || echo logrotate
    fi
    if [ "$purpose" = browser ]; then
        has chromium || echo "chromium fonts-liberation"
        has npm || echo npm
    fi
    if [ "$purpose" = docs ]; then
        has dot || echo graphviz
    fi
    if [ "$purpose" = bench ]; then
        has nginx || echo nginx
        [ -e /usr/lib/nginx/modules/ngx_http_echo_module.so ] || echo libnginx-mod-http-echo
    fi
}

# Older releases have the two MariaDB packages under versioned names only (Ubuntu 22.04: mariadb-server-core-10.6).
available_name() {
    case $1 in
        mariadb-*-core)
            if ! apt-cache show "$1" >/dev/null 2>&1; then
                versioned=$(apt-cache pkgnames "$1-" | sort -V | tail -n 1)
                [ -z "$versioned" ] || { echo "$versioned"; return; }
            fi
            ;;
    esac
    echo "$1"
}

# Debian's maintainer scripts ask policy-rc.d before they start a service; 101 means "not allowed". One that is already
# there belongs to the machine's owner and stays.
forbid_services() {
    [ -e "$policy" ] && return
    printf '#!/bin/sh\nexit 101\n' | $root tee "$policy" >/dev/null || fail "cannot write $policy: run this as root"
    policy_is_ours=yes
    $root chmod 755 "$policy"
}

allow_services() {
    [ "$policy_is_ours" = no ] || $root rm -f "$policy"
    policy_is_ours=no
}

become_root() {
    [ "$(id -u)" -ne 0 ] || return 0
    has sudo || fail "missing packages: $*. Installing them needs root: run 'apt-get install $*' as root, or install sudo, then call this again."
    root="sudo"
    sudo -v || fail "sudo did not let us in. Have root run: apt-get install $*"
}

apt() {
    log=$project/.local/log/bootstrap-apt.log
    mkdir -p "${log%/*}"
    if ! $root env DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l apt-get -q -y -o DPkg::Lock::Timeout=300 "$@" >"$log" 2>&1; then
        tail -n 15 "$log" >&2
        fail "apt-get $1 failed (all of it: $log). Check the network, /etc/apt/sources.list and that no other apt hangs, then call this again."
    fi
}

install_packages() {
    # shellcheck disable=SC2046 # package names hold no blanks
    set -- $(missing_packages)
    [ $# -gt 0 ] || return 0
    has apt-get || fail "missing: $*. This machine has no apt-get: install them with its own package manager, then call this again."
    become_root "$@"
    trap 'allow_services' EXIT
    trap 'exit 130' INT TERM HUP
    forbid_services
    say "updating the package lists"
    apt update
    names=
    for name in "$@"; do names="$names $(available_name "$name")"; done
    say "installing$names"
    # shellcheck disable=SC2086
    apt install --no-install-recommends $names
    allow_services
    # shellcheck disable=SC2046
    set -- $(missing_packages)
    [ $# -eq 0 ] || fail "still missing after the installation: $*. If 'python3-dev' is among them, Python.h must be installed for $python ($("$python" --version)): use the system's python3 (PYTHON=/usr/bin/python3 make ...)."
}

# --- Python ----------------------------------------------------------------------------------------------------------

check_python() {
    has "$python" || fail "there is no $python: install Python 3.10 or later (apt-get install python3), or set PYTHON=..."
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        fail "$("$python" --version) is too old: ImageSys needs 3.10 or later. Set PYTHON=/path/to/python3."
}

# `pip --target` works also where the system's Python is "externally managed", since it installs nothing into it.
install_uv() {
    uv=$tools/bin/uv
    "$uv" --version >/dev/null 2>&1 && return
    say "installing uv into .local/tools"
    log=$project/.local/log/bootstrap-uv.log
    mkdir -p "$tools" "${log%/*}"
    if has_pip && "$python" -m pip install -q --disable-pip-version-check --root-user-action=ignore --upgrade --target "$tools" uv >"$log" 2>&1; then
        return
    fi
    { "$python" -m venv "$tools/uv-venv" && "$tools/uv-venv/bin/python" -m pip install -q uv; } >>"$log" 2>&1 || {
        tail -n 10 "$log" >&2
        fail "uv could not be installed (all of it: $log). Check the network and the package index (pip config list), then call this again."
    }
    mkdir -p "$tools/bin"
    ln -sf ../uv-venv/bin/uv "$uv"
}

uv_run() {
    log=$project/.local/log/bootstrap-uv.log
    mkdir -p "${log%/*}"
    # An outer virtual environment must not be taken for ours.
    if ! env -u VIRTUAL_ENV -u CONDA_PREFIX UV_NO_PROGRESS=1 UV_LINK_MODE=copy "$uv" "$@" >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        fail "uv $1 $2 failed (all of it: $log). Check the network, then call this again; 'rm -rf .local/venv' starts afresh."
    fi
}

# Stamps are written last: what a crash interrupted is done again.
sync_venv() {
    [ -f "$lock" ] || fail "there is no $lock: restore it from git (git checkout requirements-dev.lock)."
    wanted="$(sha256sum <"$lock") $("$python" --version)"
    stamp=$venv/.requirements.stamp
    if [ -x "$venv/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then return; fi
    if ! "$venv/bin/python" -c 'import sys; sys.exit(sys.prefix == sys.base_prefix)' 2>/dev/null ||
        [ "$("$venv/bin/python" --version)" != "$("$python" --version)" ]; then
        say "making .local/venv with $("$python" --version)"
        uv_run venv --clear --python "$(command -v "$python")" "$venv"
    fi
    say "installing the locked packages into .local/venv"
    # Compiled now, once: where Python may not write its cache, each of Airflow's many processes would compile it anew.
    uv_run pip sync --compile-bytecode --require-hashes --python "$venv/bin/python" "$lock"
    rm -f "$venv/.project.stamp" "$venv/.browser.stamp" # the sync has removed what the lock does not name
    printf '%s\n' "$wanted" >"$stamp"
}

# The project itself, editable and without dependencies: the lock has brought them all.
install_project() {
    [ -f "$project/pyproject.toml" ] || return 0
    wanted=$(sha256sum <"$project/pyproject.toml")
    stamp=$venv/.project.stamp
    [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ] || return 0
    say "installing the project into .local/venv"
    uv_run pip install --no-deps --no-build-isolation --python "$venv/bin/python" --editable "$project"
    printf '%s\n' "$wanted" >"$stamp"
}

# What only the browser tests import.
install_browser_driver() {
    wanted=$(sha256sum <"$browser_lock")
    stamp=$venv/.browser.stamp
    [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ] || return 0
    say "installing Playwright into .local/venv"
    uv_run pip install --require-hashes --python "$venv/bin/python" --requirement "$browser_lock"
    say "bringing axe-core into .local/npm"
    "$project/scripts/from_npm.sh" axe || fail "axe-core could not be brought from npm. Check the network and the registry (npm config get registry), then call this again."
    printf '%s\n' "$wanted" >"$stamp"
}

check_python
install_packages
install_uv
sync_venv
install_project
[ "$purpose" != browser ] || install_browser_driver
