#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# ./dev cross: compile the whole tree for linux/arm64 with Debian's cross compiler;
# run the unit tests, and refs on cores of arm64 Go programs, under qemu's user
# emulation. What it links with is unpacked from Debian's arm64 packages into a folder
# of the build: nothing is added to this machine but the compiler and the emulator.
set -eu
cd "$(dirname "$0")/.."
build=${BUILD:-build}-arm64
triplet=aarch64-linux-gnu
libraries="libc6-dev libbpf-dev libelf-dev libdw-dev libdebuginfod-dev libiberty-dev liblzma-dev
	libzydis-dev libjansson-dev zlib1g-dev libzstd-dev liblz4-dev libsqlite3-dev libcurl4-gnutls-dev libmicrohttpd-dev libinih-dev libcmocka-dev"

# apt-get as on an arm64 machine on which nothing is installed
apt_arm64() {
	apt-get -q=2 -o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o Acquire::Languages=none \
		-o Dir::State::lists="$PWD/$build/apt/lists" -o Dir::State::status="$PWD/$build/apt/status" \
		-o Dir::Cache="$PWD/$build/apt/cache" -o APT::Sandbox::User=root \
		-o Debug::NoLocking=true "$@"
}

fill_sysroot() {
	root=$build/sysroot
	rm -rf "$root" "$build/apt"
	mkdir -p "$build/apt/lists/partial" "$build/apt/cache/archives/partial" "$root/usr/lib"
	: >"$build/apt/status"
	ln -s usr/lib "$root/lib"
	apt_arm64 update
	# shellcheck disable=SC2086 # a list of words
	apt_arm64 install -y --no-install-recommends --download-only $libraries >"$build/apt/log"
	for package in "$build"/apt/cache/archives/*.deb; do
		dpkg-deb --extract "$package" "$root"
	done
	rm -rf "$build/apt"
	echo "$libraries" >"$root/complete"
}

# Meson wants whole paths, so the file is made here.
write_cross_file() {
	root=$PWD/$build/sysroot
	cat >"$build/cross.ini" <<-TEXT
		[binaries]
		c = '$triplet-gcc'
		ar = '$triplet-ar'
		strip = '$triplet-strip'
		objcopy = '$triplet-objcopy'
		pkgconfig = 'pkg-config'
		exe_wrapper = ['qemu-aarch64-static', '-L', '$root']
		[properties]
		sys_root = '$root'
		pkg_config_libdir = '$root/usr/lib/$triplet/pkgconfig'
		[built-in options]
		c_args = ['--sysroot=$root']
		c_link_args = ['--sysroot=$root']
		[host_machine]
		system = 'linux'
		cpu_family = 'aarch64'
		cpu = 'aarch64'
		endian = 'little'
	TEXT
}

tools/install-deps.sh --cross
mkdir -p "$build"
[ "$(cat "$build/sysroot/complete" 2>/dev/null)" = "$libraries" ] || fill_sysroot
write_cross_file
[ -f "$build/build.ninja" ] ||
	meson setup --cross-file "$build/cross.ini" -Dtests=enabled "$build" >"$build/setup.log" || {
	cat "$build/setup.log" >&2
	exit 1
}
ninja -C "$build" >"$build/ninja.log" || {
	sed '/^\[[0-9]*\/[0-9]*\]/d' "$build/ninja.log" >&2
	exit 1
}
file=$(command -v file) && "$file" -b "$build/memwho"
rc=0
# in a space of process ids of its own: what a test starts ends with it
contain=
unshare --pid --fork --kill-child --mount-proc true 2>/dev/null && contain="unshare --pid --fork --kill-child --mount-proc"
$contain meson test -C "$build" --print-errorlogs --no-rebuild --no-suite native "$@" || rc=$?
python3 tools/count-tests.py "$build" || rc=1
exit $rc
