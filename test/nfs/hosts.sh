# To be sourced by a job: one NFSv4.1 server on ext4, and two hosts that mount it at $D. Each host is a network and a UTS
# namespace, so that each has a client id, a session and caches of its own. `on 1 COMMAND` runs a command on the first host.

D=$T/mnt/locks
for module in nfsd nfs nfsv4 veth; do modprobe -d "$T/root" "$module"; done
ip link set lo up

start_server() { rpc.nfsd -N 3 -V 4.1 -V 4.2 4; }
stop_server() { rpc.nfsd 0; }

mount -t tmpfs tmpfs /var/lib/nfs
mkdir -p /run/rpc_pipefs /var/lib/nfs/{v4recovery,rpc_pipefs,sm}
touch /var/lib/nfs/{etab,rmtab}
mount -t rpc_pipefs sunrpc /var/lib/nfs/rpc_pipefs
mount -t nfsd nfsd /proc/fs/nfsd
mkdir -p "$T/mnt/disk" "$D"
mount -t ext4 /dev/ubda "$T/mnt/disk" || mount -t ext4 /dev/ubd0 "$T/mnt/disk"
mkdir -p "$T/mnt/disk/locks"
# EFS gives no delegations.
echo "${DELEGATIONS:-0}" > /proc/sys/fs/leases-enable
# The least that the kernel takes, in seconds.
echo 10 > /proc/fs/nfsd/nfsv4leasetime
echo 10 > /proc/fs/nfsd/nfsv4gracetime
exportfs -i -o rw,fsid=0,no_root_squash,insecure,no_subtree_check,sync "*:$T/mnt/disk/locks"
rpc.mountd --no-udp -N 2 -N 3
start_server

on() {
  local host=$1
  shift
  nsenter -t "$(cat "/run/host$host")" -n -u -m env -C "$PWD" "$@"
}

for host in 1 2; do
  ip link add "server$host" type veth peer name "host$host"
  ip addr add "10.77.$host.1/24" dev "server$host"
  ip link set "server$host" up
  unshare --net --uts --mount --propagation slave bash -c "hostname host$host; echo \$\$ > /run/host$host; exec sleep 1000" &
  until [ -s "/run/host$host" ]; do sleep 0.05; done
  ip link set "host$host" netns "$(cat "/run/host$host")"
  on "$host" ip link set lo up
  on "$host" ip addr add "10.77.$host.2/24" dev "host$host"
  on "$host" ip link set "host$host" up
  # As the documentation of EFS has it, without reserved ports.
  on "$host" mount -t nfs4 -o vers=4.1,nosharecache,hard,timeo=600,retrans=2,noresvport "10.77.$host.1:/" "$D"
done
cut() { ip link set "server$1" down; }
mend() { ip link set "server$1" up; }
