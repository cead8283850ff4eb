#!/bin/sh
# Makes a machine ready: installs what `make verify` and `make test` need, on Debian, Ubuntu or Fedora, and the packages
# named as arguments; makes the environment of the checkout in which this file lies; and puts `isoproof-verify` on PATH.
# With --packages-only as the first argument it stops after the packages.
# It may run again at any time, changes nothing where all is there, and then asks the network for nothing either.
# Knows nothing of Vagrant: any virtual machine, container host or CI runner can use it.
set -eu

refuse() {
    echo "provision.sh: $1" >&2
    exit 2
}

packages_only=
if [ "${1-}" = --packages-only ]; then
    packages_only=yes
    shift
fi
project=$(cd "$(dirname "$0")/../.." && pwd)

[ "$(uname -s)" = Linux ] || refuse "this is $(uname -s), and containers are made of Linux; docs/machines.md says how to get one here"
case $(uname -m) in
    x86_64 | aarch64) ;;
    *) refuse "this is a machine of $(uname -m); isoproof is for x86_64 and aarch64" ;;
esac
kernel=$(uname -r)
if [ "$(printf '%s\n' 5.12 "$kernel" | sort --version-sort | head -n 1)" != 5.12 ]; then
    refuse "Linux $kernel is too old, 5.12 is the oldest that will do; if this is WSL 1: wsl --set-version NAME 2"
fi
[ "$(id -u)" -eq 0 ] || refuse "only root can install packages: sudo $0 $*"

if command -v apt-get >/dev/null; then
    absent=
    for package in binutils binutils-aarch64-linux-gnu busybox-static golang-github-containers-common iproute2 make \
        python3 python3-venv qemu-user-static runc strace uidmap "$@"; do
        case $(dpkg-query --show --showformat '${Status}' "$package" 2>/dev/null) in
            *'ok installed') ;;
            *) absent="$absent $package" ;;
        esac
    done
    if [ -n "$absent" ]; then
        export DEBIAN_FRONTEND=noninteractive
        # shellcheck disable=SC2086
        { apt-get update -qq && apt-get install -qq --yes --no-install-recommends $absent; } ||
            refuse "cannot install$absent: no network, or this release does not have them; apt-get says which"
    fi
elif command -v dnf >/dev/null; then
    set -- binutils binutils-aarch64-linux-gnu busybox containers-common iproute make python3 qemu-user-static runc \
        shadow-utils strace "$@"
    rpm --query --quiet "$@" || dnf install --assumeyes "$@" ||
        refuse "cannot install packages: no network, or this release does not have them; dnf says which"
else
    refuse "neither apt-get nor dnf is here; install make, runc, busybox and Python 3.11 with venv"
fi
[ -z "$packages_only" ] || exit 0

# What is shared with another machine has no owners, sockets and links of its own, and no overlay can lie on it.
filesystem=$(findmnt --noheadings --output FSTYPE --target "$project")
case $filesystem in
    9p | cifs | drvfs | fuse* | nfs* | prl_fs | smb* | vboxsf | virtiofs | vmhgfs)
        refuse "$project is shared with another machine ($filesystem); copy it to a disk of this one, and start there"
        ;;
esac

# Whoever the checkout belongs to makes the environment, so that it is theirs; su keeps what is set for pip.
cd "$project"
su "$(stat --format %U .)" --command 'make environment' ||
    refuse "cannot make the environment: no network, or no package index; pip says what it could not get"
verify=$project/harness/guest/isoproof-verify
[ "$(readlink /usr/local/bin/isoproof-verify)" = "$verify" ] || ln --symbolic --force "$verify" /usr/local/bin/
