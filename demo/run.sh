#!/bin/bash
# The demonstration: builds Carrack, starts it, makes base images, builds a
# two-stage Dockerfile over HTTP, pushes, pulls, runs, and cleans up. Says at
# each step what it does and how long that took; proves at the end that nothing
# is left. Needs root on Debian 12 with Rust.
set -euo pipefail
cd "$(dirname "$0")/.."

mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
password=demo-$RANDOM$RANDOM$RANDOM
site=$(mktemp -d /var/tmp/carrack-demo.XXXXXX)
chmod 755 "$site"
bridge=cdemo$((RANDOM % 1000))
cgroup=$(basename "$site")
server=
step=0

say() {
    step=$((step + 1))
    begin=$(date +%s%N)
    printf '\n\033[1m[%d] %s\033[0m\n' "$step" "$*"
}

took() {
    local ms=$((($(date +%s%N) - begin) / 1000000))
    printf '    (%d.%03d s)\n' $((ms / 1000)) $((ms % 1000))
}

indent() { sed -u 's/^/    /'; }

die() {
    echo "demo: $*" >&2
    exit 1
}

# Network namespaces of all processes, and those that something is mounted on.
namespaces() {
    # Processes that end meanwhile make find complain.
    { find /proc/[0-9]*/ns/net /proc/[0-9]*/task/[0-9]*/ns/net -printf '%l\n' 2>/dev/null || true; } | sort -u
    grep -c nsfs /proc/self/mountinfo || true
}

stop_server() {
    [ -n "$server" ] || return 0
    kill -TERM "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
    server=
}

cleanup() {
    local status=$?
    trap - EXIT
    if [ "$status" -ne 0 ]; then
        echo "---- the server's last lines ----" >&2
        tail -n 40 "$site/log" >&2 2>/dev/null || true
        docker_ rm -f -v hello >/dev/null 2>&1 || true
    fi
    stop_server
    rm -rf --one-file-system "$site"
    exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

[ "$(id -u)" -eq 0 ] || die "containers need namespaces and mounts: run as root"
command -v cargo >/dev/null || die "cargo is not in PATH: install Rust from https://rustup.rs, or name its directory in PATH (sudo resets it)"

say "Installing what the demonstration needs from Debian"
tests/packages.sh busybox-static ca-certificates curl gcc iproute2 jq libc6-dev mmdebstrap nftables procps skopeo
docker=$(tests/docker-cli.sh)
echo "    docker client: $("$docker" --version)"
took

say "Building Carrack"
cargo build --release --quiet
carrack=$PWD/target/release/carrack
echo "    $("$carrack" --version), $(du -h "$carrack" | cut -f1)"
took

docker_() { DOCKER_CONFIG=$site/client "$docker" -H "unix://$site/engine.sock" "$@"; }

namespaces >"$site/namespaces"
say "Starting it: registry, build service and engine, with embedded SQLite and local disk"
CARRACK_ADMIN_PASSWORD=$password "$carrack" serve \
    --data-dir "$site/data" --listen 127.0.0.1:0 \
    --engine-socket "$site/engine.sock" --builder-socket "$site/buildkit.sock" \
    --bridge "$bridge" --bridge-subnet 10.241.0.0/24 --cgroup-parent "$cgroup" \
    >"$site/out" 2>"$site/log" &
server=$!
until curl -fs "http://$(cat "$site/data/run/address" 2>/dev/null)/readyz" >"$site/ready" 2>/dev/null; do
    kill -0 "$server" 2>/dev/null || die "the server did not start"
    sleep 0.01
done
address=$(cat "$site/data/run/address")
echo "    http://$address  $(cat "$site/ready")"
took
ps -o pid,user,args --ppid "$server" --pid "$server" | cut -c1-100 | indent

say "docker login"
mkdir "$site/client"
docker_ login -u admin --password-stdin "$address" <<<"$password" 2>&1 | grep -v -i -e warning -e credential -e '^$' -e 'https://' | indent
took

say "Making a Debian base image with mmdebstrap"
mmdebstrap --quiet --variant=apt --include=ca-certificates bookworm "$site/debian.tar" \
    "deb $mirror bookworm main" 2>&1 | indent
ls -lh "$site/debian.tar" | awk '{ print "    " $5 }'
took

say "Pushing it, and a busybox image from busybox-static, into the registry with skopeo"
mkdir -p "$site/busybox/bin"
cp /bin/busybox "$site/busybox/bin/"
for applet in sh cat echo ls ps true wget sleep; do ln -s busybox "$site/busybox/bin/$applet"; done
tar -C "$site/busybox" -cf "$site/busybox.tar" .
for image in debian:bookworm busybox:latest; do
    skopeo copy --quiet --dest-tls-verify=false --dest-creds "admin:$password" \
        "tarball:$site/${image%%:*}.tar" "docker://$address/demo/$image"
    echo "    pushed $address/demo/$image"
done
took

# build CONTEXT: uploads it, follows the build, fails when the build fails.
build() {
    local id
    id=$(tar -C "$1" -cf - . | curl -fsS -u "admin:$password" --data-binary @- -H 'Content-Type: application/x-tar' \
        "http://$address/api/v1/builds?tag=$address/demo/hello:latest&build-arg=REGISTRY=$address" | jq -r .id)
    echo "    202 Accepted: build $id"
    curl -fsSN -u "admin:$password" "http://$address/api/v1/builds/$id/log" | demo/excerpt.awk | indent
    curl -fsS -u "admin:$password" "http://$address/api/v1/builds/$id" >"$site/build.json"
    [ "$(jq -r .state "$site/build.json")" = succeeded ] || die "the build failed: $(jq -c .error "$site/build.json")"
    echo "    succeeded: $(jq -r .digest "$site/build.json")"
}

say "Building a two-stage Dockerfile over HTTP, and pushing the result"
cp -r demo/context "$site/context"
build "$site/context"
took

say "The registry has it"
curl -fsS -u "admin:$password" "http://$address/auth/token?service=carrack&scope=repository:demo/hello:pull" |
    jq -r .token >"$site/token"
curl -fsS -H "Authorization: Bearer $(cat "$site/token")" "http://$address/v2/demo/hello/tags/list" | indent
took

say "Dropping the local copies, then running it: docker run -d -p, which pulls"
docker_ image prune -a -f 2>&1 | tail -n 1 | indent
docker_ run -d --name hello -p 127.0.0.1:0:80 "$address/demo/hello:latest" 2>&1 | indent
took

say "curl shows the page"
published=$(docker_ port hello 80 | head -n 1)
for _ in $(seq 100); do
    curl -fs "http://$published/" >"$site/page" && break
    sleep 0.05
done
indent <"$site/page"
grep -q "built and served by Carrack" "$site/page" || die "not the page that was expected"
took

say "docker exec, logs, ps"
docker_ exec hello sh -c 'echo "inside: $(cat /etc/hostname), pid 1 is $(cat /proc/1/comm)"' | indent
docker_ logs hello 2>&1 | indent
docker_ ps | indent
took

say "docker stop and rm"
docker_ stop hello | indent
docker_ rm hello | indent
took

say "Building again with one changed line"
sed -i 's/Hello from a C program/Hello again from a C program/' "$site/context/server.c"
build "$site/context"
took

say "docker run --rm of busybox"
docker_ run --rm "$address/demo/busybox" /bin/echo "busybox says hello" 2>&1 | indent
took

say "Stopping, removing the data, and proving that nothing is left"
children=$(pgrep -P "$server" || true)
stop_server
rm -rf --one-file-system "$site/data" "$site/engine.sock" "$site/buildkit.sock"
left=0
nothing() {
    local what=$1 found=$2
    if [ -z "$found" ]; then
        echo "    no $what"
    else
        left=1
        echo "    LEFT: $what: $found"
    fi
}
alive=""
for pid in $children; do [ -e "/proc/$pid" ] && alive+="$pid "; done
nothing "process" "$alive$(pgrep -f "$site" || true)"
nothing "mount" "$(grep -F "$site" /proc/self/mountinfo || true)"
nothing "network namespace" "$(namespaces | comm -13 "$site/namespaces" -)"
nothing "bridge or veth" "$(ip -o link | grep -F "$bridge" || true)"
nothing "nftables table" "$(nft list tables | grep -F "$bridge" || true)"
nothing "cgroup" "$(find /sys/fs/cgroup -maxdepth 3 -name "$cgroup*" 2>/dev/null || true)"
nothing "file" "$(find /run/carrack /var/lib/carrack -newer "$site/ready" 2>/dev/null | head -n 3 || true)"
took
[ "$left" -eq 0 ] || die "something was left behind"

echo
echo "The demonstration is complete."
