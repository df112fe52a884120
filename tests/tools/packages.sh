#!/bin/sh
# Install what the tests need beside Python: the real clients and servers that bottles are tried with.
# Root on Debian or Ubuntu gets what is missing; everybody else is told, and the tests that need it say so again.
set -eu
PATH=$PATH:/usr/sbin:/sbin
missing=
while read -r program package; do
    command -v "$program" >/dev/null || missing="$missing $package"
done <<'END'
git git
curl curl
dockerd docker.io
podman podman
crun crun
iptables iptables
debootstrap debootstrap
setpriv util-linux
update-ca-certificates ca-certificates
sshd openssh-server
chromium chromium
END
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "packages.sh: missing:$missing. As root: apt-get install$missing" >&2
    exit 0
fi
echo "packages.sh: installing$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
for package in $missing; do
    # Ubuntu has Chromium as a snap only: where it cannot be had, the browser tests are skipped and say so.
    apt-get install -qq --yes --no-install-recommends "$package" >/dev/null || echo "packages.sh: no $package here" >&2
done
