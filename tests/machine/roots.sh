#!/bin/bash
# Builds the root of a test machine. Called by the harness (src/cache.rs), which caches the result under a name that
# contains a hash of this very file: change anything here and the roots are built anew.
#
#   roots.sh container SUITE DEST   a folder DEST/root that systemd-nspawn boots
#   roots.sh emulated  SUITE DEST   DEST/disk.ext4, DEST/vmlinuz and DEST/initrd.img that qemu boots
#
# SUITE is a Debian release such as bookworm or trixie; DEST must not exist yet. The mirror is the host's own, as its apt
# knows it, or $SHMOOZE_TEST_MIRROR.
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin

# What every test machine has; tests may count on these.
packages=(
    systemd systemd-sysv dbus dbus-user-session libpam-systemd polkitd  # the thing itself, with user managers
    adduser passwd procps psmisc iproute2 kmod                          # what packages and tests of them call
    python3 sqlite3 curl jq socat strace                                # what tests and example modules speak with
)
# What a whole emulated machine has besides.
kernel=(linux-image-cloud-amd64 udev initramfs-tools)

# Two users without any right, one to own things and one to try to get at them. Their managers linger on demand only.
users=(alice bob)

# Nothing of this belongs to a test: it costs boot time, or wakes up in the middle of a measurement.
masked=(
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer
    man-db.timer motd-news.timer systemd-tmpfiles-clean.timer
    console-getty.service getty.target systemd-firstboot.service systemd-timesyncd.service
    systemd-networkd-wait-online.service systemd-pcrphase.service systemd-pcrphase-sysinit.service
    systemd-binfmt.service proc-sys-fs-binfmt_misc.automount systemd-random-seed.service kmod-static-nodes.service
    modprobe@.service sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount
    dev-hugepages.mount dev-mqueue.mount
)

die() {
    echo "roots.sh: $*" >&2
    exit 1
}

# The site of the Debian archive as the host's apt has it: any release will do, since all of them are on one site.
mirror() {
    if [[ -n ${SHMOOZE_TEST_MIRROR:-} ]]; then
        echo "$SHMOOZE_TEST_MIRROR"
        return
    fi
    # Without package lists apt knows no origin and prints the placeholder as it stands: then the release alone decides.
    apt-get indextargets --format '$(ORIGIN)|$(RELEASE)|$(COMPONENT)|$(SITE)' 'Created-By: Packages' |
        awk -F'|' '($1 == "Debian" || $1 ~ /ORIGIN/) && $3 == "main" &&
            $2 ~ /^(bookworm|trixie|forky|sid|stable|oldstable|testing|unstable)$/ { print $4; exit }'
}

# The apt settings of the host that decide whether the mirror can be reached at all.
apt_options() {
    local name value
    for name in Acquire::http::Proxy Acquire::https::Proxy Acquire::Check-Valid-Until Acquire::Check-Date; do
        value=
        eval "$(apt-config shell value "$name")"
        [[ -z $value ]] || printf '%s\n' "--aptopt=$name \"$value\""
    done
}

# bootstrap SUITE ROOT PACKAGE... [-- MMDEBSTRAP-OPTION...]
bootstrap() {
    local suite=$1 root=$2 wanted=() site options
    shift 2
    while (($#)) && [[ $1 != -- ]]; do
        wanted+=("$1")
        shift
    done
    (($#)) && shift
    site=$(mirror)
    [[ -n $site ]] || die "the host's apt names no Debian archive: set SHMOOZE_TEST_MIRROR to the address of one"
    mapfile -t options < <(apt_options)
    # Manual pages and the like are left out while the root is built; the rule is dropped afterwards, because
    # tests of the project's own packages look for just these files.
    mmdebstrap --quiet --variant=minbase --mode=root "${options[@]}" \
        --include="$(IFS=,; echo "${wanted[*]}")" \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        "$@" "$suite" "$root" "deb $site $suite main" >&2
    rm -f "$root"/etc/dpkg/dpkg.cfg.d/99mmdebstrap "$root"/etc/apt/apt.conf.d/99mmdebstrap
    configure "$root"
}

configure() {
    local root=$1 unit user
    echo shmooze-test >"$root/etc/hostname"
    printf '127.0.0.1 localhost shmooze-test\n::1 localhost\n' >"$root/etc/hosts"
    # An id from the start: a machine without one goes through the rites of a first boot each time.
    echo 5a8e1c0f7d3b4a6292b4d1f08c7e6a35 >"$root/etc/machine-id"
    : >"$root/etc/fstab"
    # All is up to date with /usr: else systemd 257 would bring it there at each boot.
    touch "$root/etc/.updated" "$root/var/.updated"
    for unit in "${masked[@]}"; do
        ln -sf /dev/null "$root/etc/systemd/system/$unit"
    done
    for user in "${users[@]}"; do
        chroot "$root" useradd --create-home --shell /bin/bash "$user"
    done
    # The journal stays in memory and is never held back: tests read every line of it.
    mkdir -p "$root/etc/systemd/journald.conf.d"
    printf '[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\n' >"$root/etc/systemd/journald.conf.d/test.conf"
}

build_container() {
    local suite=$1 dest=$2
    bootstrap "$suite" "$dest/root" "${packages[@]}"
}

build_emulated() {
    local suite=$1 dest=$2 root=$2/root here agent
    here=$(dirname "$(readlink -f "$0")")
    # The kernel's package makes the initial ram disk when it is installed, so what goes into it is said before:
    # an emulated processor unpacks a small one much faster.
    bootstrap "$suite" "$root" "${packages[@]}" "${kernel[@]}" -- \
        --essential-hook='mkdir -p "$1/etc/initramfs-tools/conf.d"' \
        --essential-hook='printf "MODULES=list\n" >"$1/etc/initramfs-tools/conf.d/test"' \
        --essential-hook='printf "virtio_pci\nvirtio_blk\next4\n" >"$1/etc/initramfs-tools/modules"'
    install -D -m 755 "$here/agent.py" "$root/usr/local/lib/shmooze-test/agent.py"
    install -D -m 644 "$here/agent.service" "$root/etc/systemd/system/test-agent.service"
    mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
    ln -s ../test-agent.service "$root/etc/systemd/system/multi-user.target.wants/test-agent.service"
    cp -L "$root"/boot/vmlinuz-* "$dest/vmlinuz"
    cp -L "$root"/boot/initrd.img-* "$dest/initrd.img"
    mke2fs -q -t ext4 -L root -d "$root" "$dest/disk.ext4" 3G
    rm -rf --one-file-system "$root"
}

(($# == 3)) || die "usage: roots.sh container|emulated SUITE DEST"
[[ $1 == container || $1 == emulated ]] || die "there are container and emulated machines, but not $1"
[[ ! -e $3 ]] || die "$3 exists already"
mkdir -p "$3"
"build_$1" "$2" "$3"
