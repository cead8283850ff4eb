#!/usr/bin/env bash
# Tries the Vagrantfile from end to end: run.sh, or `make vagrant-test`; some twenty minutes, and 10 GB of disk meanwhile.
# A box is made of Debian's packages, or BOX_URL names one that box.sh has made before. libvirt and the machine run in
# namespaces of this test's own, with emulated processors. Whatever happens, Ctrl-C included, the kernel ends all of it
# with the namespaces, and the folder in which it lay is removed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$here/../.." && pwd)

refuse() {
    echo "vagrant-test: $1" >&2
    exit 2
}

[ "$(uname -m)" = x86_64 ] || refuse "this is $(uname -m); the box is made and emulated on x86_64 only"
[ "$(id -u)" -eq 0 ] || refuse "only root can make a box and start libvirt: sudo make vagrant-test"
for tool in debootstrap dnsmasq libvirtd qemu-img qemu-system-x86_64 rsync vagrant virsh; do
    command -v "$tool" >/dev/null || refuse "there is no $tool; on Debian: harness/guest/provision.sh --packages-only \
debootstrap dnsmasq-base libvirt-clients libvirt-daemon-system qemu-system-x86 qemu-utils rsync vagrant vagrant-libvirt"
done
[ "$(awk '/^MemAvailable/ {print $2}' /proc/meminfo)" -gt 3000000 ] || refuse "the machine needs 3 GB of free memory"
[ "$(df --output=avail "${TMPDIR:-/tmp}" | tail -n 1)" -gt 10000000 ] ||
    refuse "the box and its disks need 10 GB below ${TMPDIR:-/tmp}; name another folder: TMPDIR="

scratch=$(mktemp -d "${TMPDIR:-/tmp}/isoproof-vagrant.XXXXXX")
chmod 0711 "$scratch"
child=

# With process 1 of a namespace all others of it end, and its mounts and its network go; only then nothing is in use.
clean_up() {
    local first
    if [ -n "$child" ] && first=$(cat "/proc/$child/task/$child/children" 2>/dev/null); then
        kill -KILL "$child"
        while [ -n "$first" ] && [ -e "/proc/${first% }" ]; do sleep 0.1; done
    fi
    rm -rf --one-file-system "$scratch"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# In the background, for a signal shall be heeded at once.
contained() {
    unshare --mount --pid --fork --kill-child --mount-proc "$@" &
    child=$!
    wait "$child"
    child=
}

if [ -z "${BOX_URL:-}" ]; then
    echo "=== box"
    contained "$here/box.sh" "$scratch/isoproof.box" >"$scratch/box.log" 2>&1 || {
        tail -n 20 "$scratch/box.log"
        refuse "no box could be made; that above says why"
    }
    echo "=== box: after $SECONDS s, $(du -m "$scratch/isoproof.box" | cut -f 1) MB"
    export BOX_URL=$scratch/isoproof.box
fi
contained --net "$here/inside.sh" "$scratch" "$project"
