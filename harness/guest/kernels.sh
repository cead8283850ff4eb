#!/bin/sh
# What the virtual machine of `make kernels` runs, as root: the checks, with their results in the folder that is shared.
#
#   kernels.sh PYTHON FOLDERS PARSER ARGUMENTS...
#
# FOLDERS are those that PYTHON reads, with colons between them, PARSER loads the profile of AppArmor that a check asks
# for (`-`: there is none), ARGUMENTS are pytest's.
set -u
python=$1 folders=$2 parser=$3
shift 3
# Not below /run/isoproof, where the runtime keeps what checks look through.
shared=/run/guest/results
machine=/run/guest/machine # the tree of this machine's once more

# Each look at a file takes a way to the host. Where files come by 9p the kernel can be told to remember what it has seen.
if grep -q " $machine 9p " /proc/mounts && tag=$(grep " $machine 9p " /proc/mounts | cut -d ' ' -f 1) && umount "$machine" &&
    mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose "$tag" "$machine"; then
    (
        IFS=:
        for folder in $folders; do
            mount --bind "$machine$folder" "$folder"
        done
    )
    cd "$(pwd)" || exit # into the folder that lies over it now
fi
[ "$parser" = - ] || "$parser" --config-file=/dev/null --replace --skip-cache harness/guest/isoproof.apparmor

export HOME=/run/guest XDG_CACHE_HOME=/run/guest PYTHONDONTWRITEBYTECODE=1
"$python" -m pytest scenarios/ -p no:cacheprovider --reports "$shared" "$@"
# The way that virtme-run has for this takes udev, which small machines do not have.
echo $? >"$shared/status"
