#!/bin/bash
# The first process of the user-mode Linux: mounts what a Linux needs, runs the job of the test in $T, and powers off. The root
# is the root of the machine that runs the test, read-only.

export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs "$T/mnt"
/bin/bash "$T/job.sh"
echo "job ended: $?"
sync
echo o > /proc/sysrq-trigger
sleep 5
