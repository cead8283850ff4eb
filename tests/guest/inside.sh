#!/usr/bin/env bash
# The part of run.sh in namespaces of mounts, processes and networks of its own: inside.sh SCRATCH PROJECT
set -euo pipefail
scratch=$1
cd "$2"

# Of this machine libvirt sees its own files, and neither its daemons nor its network; nor the processor's help.
mount -t sysfs sysfs /sys
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p "$scratch"/{etc,lib,cache,log,home,dev}
mount --bind "$scratch/etc" /etc/libvirt
mount --bind "$scratch/lib" /var/lib/libvirt
mount --bind "$scratch/cache" /var/cache/libvirt
mount --bind "$scratch/log" /var/log/libvirt
mount --bind /dev "$scratch/dev"
mount -t tmpfs -o mode=755 tmpfs /dev
for node in null zero full random urandom tty; do
    touch "/dev/$node"
    mount --bind "$scratch/dev/$node" "/dev/$node"
done
mkdir /dev/net /dev/pts /dev/shm
touch /dev/net/tun
mount --bind "$scratch/dev/net/tun" /dev/net/tun
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
umount "$scratch/dev"
ln -s pts/ptmx /dev/ptmx
ln -s /proc/self/fd /dev/fd
ip link set lo up

cat >/etc/libvirt/qemu.conf <<'CONF'
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
CONF
printf 'auth_unix_rw = "none"\n' >/etc/libvirt/libvirtd.conf

export HOME=$scratch/home VAGRANT_HOME=$scratch/home/vagrant VAGRANT_DOTFILE_PATH=$scratch/dot
export VAGRANT_DEFAULT_PROVIDER=libvirt VAGRANT_CHECKPOINT_DISABLE=1

# Run a function under a name, and say how long it took. Where it fails, all ends.
stage() {
    local name=$1 begun=$SECONDS
    shift
    echo "=== $name"
    "$@"
    echo "=== $name: after $((SECONDS - begun)) s"
}

start_libvirt() {
    libvirtd --daemon
    for _ in {1..300}; do
        virsh --connect qemu:///system version >/dev/null 2>&1 && return
        sleep 0.1
    done
    echo "libvirtd does not answer:" >&2
    cat /var/log/libvirt/* >&2
    return 1
}

# Twice, since the second time finds what the first has left.
provision_changes_nothing() {
    local changed
    vagrant ssh --no-tty -c 'sudo touch /run/before'
    vagrant provision
    vagrant provision
    changed=$(vagrant ssh --no-tty -c 'sudo find /etc /usr /var/lib/dpkg isoproof -newer /run/before')
    [ -z "$changed" ] || { echo "provisioning again has changed:" >&2; echo "$changed" >&2; return 1; }
}

# The reports are looked at all the same.
verify() {
    make vagrant-verify || verified=no
}

# Whether a check has failed is said by pytest's exit status; here it is that the report is the guest's, and of something.
reports_are_here() {
    local release
    release=$(vagrant ssh --no-tty -c 'uname -r')
    python3 - reports/vagrant/isolation.json "$release" <<'PYTHON'
import collections
import json
import sys

path, release = sys.argv[1:]
with open(path) as file:
    run = json.load(file)
outcomes = collections.Counter(result["outcome"] for result in run["results"])
print(f"Linux {release}, cgroup {run['environment']['cgroup']}: {dict(outcomes)}")
sys.exit(run["environment"]["release"] != release or outcomes["pass"] == 0)
PYTHON
    test -s reports/vagrant/isolation.html
    test -s reports/vagrant/isolation.md
}

destroy() {
    vagrant destroy --force
    [ -z "$(virsh --connect qemu:///system list --all --name)" ]
}

stage libvirt start_libvirt
stage up vagrant up --no-tty
stage again provision_changes_nothing
verified=yes
stage verify verify
stage reports reports_are_here
stage destroy destroy
if [ "$verified" = no ]; then
    echo "vagrant-test: in the machine a check has failed, and nothing else, after $SECONDS s" >&2
    exit 1
fi
echo "vagrant-test: passed after $SECONDS s"
