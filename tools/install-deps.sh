#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Install what is missing for the build and the demo; with --tests also what the
# tests use. Says nothing when all is there. Debian 12/13, Ubuntu 22.04/24.04.
set -eu

build="gcc libc6-dev meson ninja-build pkg-config python3 clang
	libbpf-dev libelf-dev libdw-dev libdebuginfod-dev libiberty-dev liblzma-dev libzydis-dev
	libjansson-dev zlib1g-dev libzstd-dev liblz4-dev libmicrohttpd-dev libinih-dev libsqlite3-dev libcurl4-gnutls-dev"
tests="git iproute2 bpftrace libcmocka-dev python3-pytest clang-format shellcheck zsh g++ procps binutils gdb musl-tools
	libjemalloc-dev libgoogle-perftools-dev libmimalloc-dev systemtap-sdt-dev llvm xz-utils openssl curl
	postgresql libcap2-bin crun lua5.1 lua5.2 lua5.3 lua5.4 liblua5.1-0 liblua5.3-0 liblua5.4-0
	liblua5.3-dev liblua5.4-dev redis-server haproxy"
# schemas of Kubernetes come from there
python3 -m pip --version >/dev/null 2>&1 || tests="$tests python3-pip"
command -v java >/dev/null || tests="$tests default-jdk-headless"
command -v node >/dev/null || tests="$tests nodejs"
command -v go >/dev/null || tests="$tests golang-go" # its pprof reads our profiles
command -v npm >/dev/null || tests="$tests npm" # servers of other versions come from there
command -v cargo >/dev/null || tests="$tests cargo" # a Rust of the user's own will do
fuzz="libclang-rt-dev" # libFuzzer
vm="qemu-system-x86 busybox-static cpio"
cross="gcc-aarch64-linux-gnu qemu-user-static" # see tools/cross.sh

id=unknown
if [ -r /etc/os-release ]; then
	# shellcheck disable=SC1091 # not part of the tree
	. /etc/os-release
	id=$ID
fi
[ "$id ${VERSION_ID:-}" != "ubuntu 22.04" ] || fuzz= # there it is part of clang
case " $id ${ID_LIKE:-} " in
*" ubuntu "*) build="$build linux-tools-generic" ;; # bpftool; src/bpf/meson.build finds it
*" debian "*)
	build="$build bpftool"
	tests="$tests libarchive13" # debuginfod wants it
	tests="$tests chromium chromium-driver" # Ubuntu's are snaps: the browser tests are skipped there
	;;
*)
	command -v dpkg-query >/dev/null || {
		echo "install-deps: not a Debian or Ubuntu; CONTRIBUTING.md lists the libraries" >&2
		exit 0
	}
	;;
esac

wanted=$build
for arg; do
	case $arg in
	--tests) wanted="$wanted $tests" ;;
	--fuzz) wanted="$wanted $fuzz" ;;
	--vm) wanted="$wanted $vm" ;;
	--cross) wanted="$wanted $cross" ;;
	*)
		echo "usage: install-deps.sh [--tests] [--fuzz] [--vm] [--cross]" >&2
		exit 2
		;;
	esac
done

# Packages of $1 that are not installed. Only names that exist in every release
# are in the lists: the -dev packages bring libraries whose names change.
missing() {
	for package in $1; do
		dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -q '^installed' ||
			printf '%s ' "$package"
	done
}

install_missing() {
	need=$(missing "$1")
	[ -n "$need" ] || return 0
	root=
	if [ "$(id -u)" != 0 ]; then
		command -v sudo >/dev/null || {
			echo "install-deps: needs root (or sudo) to install: $need" >&2
			exit 1
		}
		root=sudo
	fi
	export DEBIAN_FRONTEND=noninteractive
	echo "install-deps: installing $need" >&2
	$root apt-get update -q=2
	# shellcheck disable=SC2086 # a list of words
	$root apt-get install -q=2 -y --no-install-recommends $need >/dev/null
}

install_missing "$wanted"

# The server's headers, for an extension that the tests build: their package has
# its version in the name.
case " $* " in
*" --tests "*)
	for server in /usr/lib/postgresql/*/bin/postgres; do
		version=${server#/usr/lib/postgresql/}
		[ ! -x "$server" ] || install_missing "postgresql-server-dev-${version%%/*}"
	done
	;;
esac
