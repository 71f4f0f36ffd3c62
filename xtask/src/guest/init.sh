#!/bin/busybox sh
# The first and only program of the guest: sets up what the tests need, runs them, and says by the second serial
# port how that ended. The first one is the console.

/bin/busybox --install -s /bin
export PATH=/guest/bin:/bin

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t bpf bpf /sys/fs/bpf
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mkdir -p /run/netns
for module in /guest/modules/*.ko; do
    insmod "$module"
done
ip link set lo up
# Each replay test keeps the tables of a whole firewall open.
ulimit -n 65536

sh /guest/tests
echo "exit $?" >/dev/ttyS1
poweroff -f
