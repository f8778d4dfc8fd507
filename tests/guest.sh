#!/bin/bash
# Runs the container tests of engine/runtime in a guest: the kernel of Debian
# 12, older than most hosts that build this, with all controllers on cgroup v2,
# which hosts with v1 cannot show. Emulated, so that it needs no /dev/kvm.
# Left out: what compiles or needs nftables, and the race of swapped targets,
# which takes minutes here.
set -euo pipefail
cd "$(dirname "$0")/.."

tests/packages.sh busybox-static cpio qemu-system-x86 util-linux
release=$(apt-cache depends linux-image-cloud-amd64 | awk '$1 == "Depends:" { print $2; exit }')
kernel=$PWD/target/tools/$release
if [ ! -e "$kernel/boot" ]; then
    mkdir -p "$kernel"
    (cd "$kernel" && apt-get -o APT::Sandbox::User=root download -qq "$release" && dpkg -x "$release"_*.deb . && rm "$release"_*.deb)
fi

# The selection of tests/run.sh, so that nothing is built twice.
tests=$(cargo test -q --workspace --lib --bins --tests --no-run --message-format=json |
    grep -o '"executable":"[^"]*/containers-[^"]*"' | tail -n 1 | cut -d '"' -f 4)
launcher=$PWD/target/debug/runtime-test-launcher

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
# The tests know the launcher by its path here.
mkdir -p "$root/first" "$root/system$(dirname "$launcher")" "$root"/system/{bin,dev,etc,proc,sys,test,tmp}
cp /bin/busybox "$root/system/bin/"
ldd "$tests" "$launcher" /usr/bin/unshare | grep -o '/[^ :]* (' | cut -d ' ' -f 1 | sort -u |
    xargs cp --dereference --parents --target-directory="$root/system"
cp --parents "$launcher" /usr/bin/unshare "$root/system"
cp "$tests" "$root/system/test/containers"
find "$kernel/lib/modules" -name overlay.ko -exec cp {} "$root/system/test/" \;
cp /etc/passwd "$root/system/etc/"
cp tests/guest/init "$root/system/"
# The first root file system cannot be pivoted away from, as containers do.
cp tests/guest/first "$root/first/init"
tar --create --directory "$root/system" --file "$root/first/system.tar" .
mkdir "$root/first/bin" "$root/first/system"
cp /bin/busybox "$root/first/bin/"
(cd "$root/first" && find . | cpio --create --quiet --format=newc | gzip -1) >"$root/initrd"

timeout 600 qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m 2048 -nic none \
    -nographic -no-reboot -kernel "$kernel"/boot/vmlinuz-* -initrd "$root/initrd" \
    -append "console=ttyS0 quiet panic=-1" </dev/null | tr -d '\r' | tee "$root/log"
# Both runs, and not only the end of one.
[ "$(grep -c '^guest: 0$' "$root/log")" -eq 2 ]
