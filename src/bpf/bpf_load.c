/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bpf/bpf_load.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/feature.h"
#include "base/kernel.h"
#include "bpf/bpf_permission.h"
#include "bpf/libbpf_old.h"
#include "bpf/plain_btf.h"

/* What libbpf said last: the kernel's reason when a load fails. */
static char libbpf_said[512];

static int keep_libbpf_message(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	if (level == LIBBPF_WARN)
		vsnprintf(libbpf_said, sizeof(libbpf_said), fmt, ap);
	libbpf_said[strcspn(libbpf_said, "\n")] = '\0';
	return 0;
}

int bpf_load_explain(int r, struct error *err)
{
	/* EACCES is the verifier's word */
	if (r != -EACCES && bpf_permission_is_refusal(r))
		return bpf_permission_explain(BPF_PERMISSION_LOAD, -r, err);
	if (!feature_allowed("bpf") || r == -ENOSYS) {
		error_set(err, ENOTSUP, "this kernel takes no BPF programs");
		return error_hint(err, "boot a kernel with CONFIG_BPF_SYSCALL and "
		                       "CONFIG_BPF_EVENTS");
	}
	if (!feature_allowed("btf") || access("/sys/kernel/btf/vmlinux", R_OK) < 0) {
		error_set(err, ENOTSUP, "this kernel has no type information (BTF)");
		return error_hint(err, "memwho's BPF programs need /sys/kernel/btf/vmlinux "
		                       "(CONFIG_DEBUG_INFO_BTF); distributions' kernels since "
		                       "2021 have it");
	}
	if (kernel_has(KERNEL_BPF_LOOP) == KERNEL_NO) {
		error_set(err, ENOTSUP, "this kernel's BPF has no bpf_loop");
		return error_hint(err, "memwho's BPF programs need Linux 5.17 or later");
	}
	error_sys(err, -r, "cannot load the BPF programs");
	return error_hint(err, "libbpf says: %s; `memwho doctor` shows what this kernel has",
	                  libbpf_said);
}

int bpf_load_begin(struct error *err)
{
	libbpf_set_print(keep_libbpf_message);
	libbpf_said[0] = '\0';
	libbpf_old_begin();
	if (!feature_allowed("bpf") || !feature_allowed("btf") || !feature_allowed("bpf_loop"))
		return bpf_load_explain(-ENOTSUP, err);
	return 0;
}

int bpf_load_btf(int *ret_fd, char path[32], struct error *err)
{
	int r;

	path[0] = '\0';
	if (!LIBBPF_IS_OLD && feature_allowed("btf_enum64"))
		return 0;
	r = plain_btf_open(ret_fd, err);
	if (r == 0)
		snprintf(path, 32, "/proc/self/fd/%d", *ret_fd);
	return r;
}
