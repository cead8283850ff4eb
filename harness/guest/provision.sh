#!/bin/sh
# Installs what `make verify` and `make test` need, on Debian, Ubuntu or Fedora. It may run again at any time.
# Knows nothing of Vagrant: any virtual machine, container host or CI runner can use it.
set -eu

if command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update
    apt-get install --yes --no-install-recommends \
        busybox-static git iproute2 make python3 python3-venv runc strace uidmap
elif command -v dnf >/dev/null; then
    dnf install --assumeyes \
        busybox git iproute make python3 runc strace shadow-utils
else
    echo "provision.sh: neither apt-get nor dnf is here; install Python 3.11 with venv, make, runc and busybox" >&2
    exit 1
fi
