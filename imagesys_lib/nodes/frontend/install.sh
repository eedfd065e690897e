#!/bin/sh
# Prepare a frontend for ImageSys: its account, its folder, the one command that the account may run.
#
#     sh install.sh [--dry-run] [--root /srv/imagesys] [--user imagesys] [--bin /usr/local/bin] PUBLIC_KEY_FILE
#
# Run it as root on the frontend, with imagesys-node beside it. Run again it changes nothing that is right already.
set -eu

root=/srv/imagesys user=imagesys bin=/usr/local/bin try= key=
here=$(dirname -- "$0")

die() {
    echo "install.sh: $*" >&2
    exit 2
}

do_it() {
    echo "+ $*"
    [ -n "$try" ] || "$@"
}

while [ $# -gt 0 ]; do
    case $1 in
        --dry-run) try=yes ;;
        --root) root=${2:?a folder}; shift ;;
        --user) user=${2:?a name}; shift ;;
        --bin) bin=${2:?a folder}; shift ;;
        -*) die "unknown option $1" ;;
        *) key=$1 ;;
    esac
    shift
done
[ -n "$key" ] || die "which public key? The first lines of this file say how it is called."
[ -r "$key" ] || die "cannot read $key"
[ -f "$here/imagesys-node" ] || die "imagesys-node is not beside this file: copy the whole folder"
case $root in /*) ;; *) die "--root must be an absolute path" ;; esac
case $root$bin in *[!A-Za-z0-9/._-]*) die "folders may have letters, digits and ._- in their names" ;; esac
public=$(grep -E '^(ssh-|ecdsa-|sk-)' "$key" | head -n 1)
[ -n "$public" ] || die "$key holds no public key"
for program in rsync find sort sha1sum df xargs stat; do
    command -v "$program" >/dev/null || die "$program is missing: install rsync, coreutils and findutils"
done

home=$(getent passwd "$user" | cut -d: -f6)
home=${home:-/home/$user}

# With the account's home below the folder the key could write itself other rights; a link must not hide that.
real=$(readlink -m -- "$root")
for own in "$home" "$home/.ssh"; do
    case $(readlink -m -- "$own")/ in
        "${real%/}"/*) die "$root must not contain $own: take another folder, or another home for $user" ;;
    esac
done

id "$user" >/dev/null 2>&1 ||
    do_it useradd --system --create-home --home-dir "$home" --shell /bin/sh --password '*' "$user"
group=$(id -gn "$user" 2>/dev/null || echo "$user")

do_it install -d -m 755 -o "$user" -g "$group" "$root"
do_it install -d -m 755 "$bin"
do_it install -m 755 "$here/imagesys-node" "$bin/imagesys-node"
do_it install -d -m 700 -o "$user" -g "$group" "$home/.ssh"

keys=$home/.ssh/authorized_keys
line="restrict,command=\"$bin/imagesys-node $root\" $public"
blob=$(printf '%s\n' "$public" | cut -d' ' -f2)
if grep -qxF "$line" "$keys" 2>/dev/null; then
    echo "$keys has the key already"
elif grep -qF "$blob" "$keys" 2>/dev/null; then
    die "$keys has this key with other rights: remove that line, then run this again"
else
    echo "+ add the key to $keys: $line"
    if [ -z "$try" ]; then
        printf '%s\n' "$line" >>"$keys"
        chown "$user:$group" "$keys"
        chmod 600 "$keys"
    fi
fi

echo
echo "Airflow connection of this node (ssh): login $user, extra:"
for host_key in /etc/ssh/ssh_host_ed25519_key.pub /etc/ssh/ssh_host_rsa_key.pub; do
    [ -r "$host_key" ] || continue
    echo "  {\"host_key\": \"$(cut -d' ' -f1,2 "$host_key")\", \"root\": \"$root\"}"
    break
done
