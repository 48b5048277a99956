#!/bin/busybox sh
# The first and only process tree of a guest. The host appends what to load and
# what to run, and reads the console.
/bin/busybox mkdir /applet
/bin/busybox --install -s /applet
# Not busybox's shell for tests: it runs its own ip and tc whatever PATH says.
[ -e /bin/sh ] || /bin/busybox ln -s /usr/bin/sh /bin/sh
# The host's own ip and tc come before busybox's lesser ones.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin:/applet HOME=/tmp WEIR_IN_VM=1 RUST_BACKTRACE=1

# Ends the guest even if nobody outside is left to do so.
watchdog() {
    (sleep "$1"; poweroff -f) &
}

mkdir -p /proc /sys /dev /tmp /run/netns /var/run /etc
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tracefs tracefs /sys/kernel/tracing
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs /tmp
ln -sf /proc/self/fd /dev/fd
# A panic on any kernel fault, so that a fault cannot pass for a success.
echo 1 >/proc/sys/kernel/panic_on_oops
ip link set lo up

