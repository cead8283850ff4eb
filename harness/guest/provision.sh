#!/bin/sh
# Installs what `make verify` and `make test` need, on Debian, Ubuntu or Fedora, and the packages named as arguments.
# It may run again at any time, and asks the network for nothing where all is there.
# Knows nothing of Vagrant: any virtual machine, container host or CI runner can use it.
set -eu

if command -v apt-get >/dev/null; then
    absent=
    for package in binutils binutils-aarch64-linux-gnu busybox-static golang-github-containers-common iproute2 make \
        python3 python3-venv qemu-user-static runc strace uidmap "$@"; do
        case $(dpkg-query --show --showformat '${Status}' "$package" 2>/dev/null) in
            *'ok installed') ;;
            *) absent="$absent $package" ;;
        esac
    done
    [ -n "$absent" ] || exit 0
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # shellcheck disable=SC2086
    apt-get install -qq --yes --no-install-recommends $absent
elif command -v dnf >/dev/null; then
    dnf install --assumeyes binutils binutils-aarch64-linux-gnu busybox containers-common iproute make python3 \
        qemu-user-static runc shadow-utils strace "$@"
else
    echo "provision.sh: neither apt-get nor dnf is here; install make, runc, busybox and Python 3.11 with venv" >&2
    exit 1
fi
