#!/usr/bin/env bash
# Makes a box for vagrant-libvirt of the Debian that runs here: box.sh FILE
# It needs no network once it is made: what provision.sh installs is in it, and so is what pip would fetch.
# It has no boot loader; libvirt boots its kernel, emulated, as the Vagrantfile within the box says.
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: box.sh FILE" >&2; exit 2; }
box=$(realpath "$1")
project=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=/dev/null
. /etc/os-release
if [ "$ID" != debian ] || [ "$(dpkg --print-architecture)" != amd64 ]; then
    echo "box.sh: this is $PRETTY_NAME on $(uname -m); the box is made of Debian on x86_64 only" >&2
    exit 2
fi

[ -x "$project/.venv/bin/python" ] || { echo "box.sh: pip takes what is in the box from .venv: make environment" >&2; exit 2; }

work=$(mktemp -d "$box.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
root=$work/root
contents=$work/contents
mkdir -m 0755 "$root" "$contents"

# From wherever this machine has its packages.
# shellcheck disable=SC2016
mirror=$(apt-get indextargets --format '$(SITE)' "Created-By: Packages" "Codename: $VERSION_CODENAME" | head -n 1)
debootstrap --variant=minbase \
    --include=ca-certificates,dbus,linux-image-cloud-amd64,openssh-server,rsync,sudo,systemd-sysv \
    "$VERSION_CODENAME" "$root" "$mirror"
cp "$project/harness/guest/provision.sh" "$root/root/"
chroot "$root" /root/provision.sh --packages-only

# pip takes what it needs from a folder, and compiles nothing: that is slow where all is emulated. The names are those of
# pyproject.toml, and what builds isoproof itself.
"$project/.venv/bin/python" -m pip download --quiet --dest "$root/opt/wheels" --group "$project/pyproject.toml:dev" \
    pip "$project" hatchling editables
rm -f "$root"/opt/wheels/isoproof-*
printf '[global]\nno-index = true\nfind-links = /opt/wheels\n[install]\nno-compile = true\n' >"$root/etc/pip.conf"

ssh-keygen -q -t ed25519 -N '' -C isoproof -f "$contents/key"
chroot "$root" useradd --create-home --shell /bin/bash vagrant
echo 'vagrant ALL=(ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/vagrant"
install -d -o 1000 -g 1000 -m 0700 "$root/home/vagrant/.ssh"
install -o 1000 -g 1000 -m 0600 "$contents/key.pub" "$root/home/vagrant/.ssh/authorized_keys"
printf '[Match]\nName=e*\n[Network]\nDHCP=yes\n' >"$root/etc/systemd/network/wired.network"
systemctl --quiet --root "$root" enable systemd-networkd
echo '/dev/vda / ext4 defaults 0 1' >"$root/etc/fstab"
echo debian >"$root/etc/hostname"
: >"$root/etc/machine-id" # made at the first boot
: >"$root/etc/resolv.conf" # there is nobody to ask
rm -rf "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*

cp "$root"/boot/vmlinuz-* "$contents/vmlinuz"
cp "$root"/boot/initrd.img-* "$contents/initrd"
mkfs.ext4 -q -d "$root" "$work/disk" 6G
qemu-img convert -O qcow2 "$work/disk" "$contents/box.img"
echo '{"provider": "libvirt", "format": "qcow2", "virtual_size": 6}' >"$contents/metadata.json"
cp "$(dirname "$0")/box.rb" "$contents/Vagrantfile"
tar -C "$contents" -cf "$box" metadata.json Vagrantfile key vmlinuz initrd box.img
