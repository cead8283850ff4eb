#!/bin/sh
# Runs a command as an ordinary user who has been given a cgroup of version 2, with every controller: on a machine that
# one may lose and that has no systemd to do the same, as the virtual machines of `make kernels`.
#
#   delegated.sh UID COMMAND...     as root
#
# With systemd: systemd-run --uid=USER --property=Delegate=yes --property=DelegateSubgroup=session COMMAND...
set -eu
user=$1
shift
top=/sys/fs/cgroup
given=$top/isoproof-user-$user
if [ ! -e $top/cgroup.controllers ]; then
    echo "delegated.sh: $top is no cgroup of version 2; start Linux with systemd.unified_cgroup_hierarchy=1" >&2
    exit 2
fi
read -r controllers <$top/cgroup.controllers
for controller in $controllers; do
    echo "+$controller" >$top/cgroup.subtree_control
done
mkdir "$given" "$given/session"
for file in . cgroup.procs cgroup.threads cgroup.subtree_control session session/cgroup.procs; do
    chown "$user" "$given/$file"
done
# Not this shell, which is root's: the kernel lets nobody else move it on into a cpuset that is new.
status=0
# shellcheck disable=SC2016
sh -c 'echo 0 >"$0/session/cgroup.procs" && exec "$@"' "$given" \
    setpriv --reuid "$user" --regid "$user" --clear-groups "$@" || status=$?
rmdir "$given/session" "$given"
exit $status
