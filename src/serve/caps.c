/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/caps.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

static const int kept[] = {
	CAP_SYS_PTRACE,      /* other users' processes: maps, memory, the agent */
	CAP_DAC_READ_SEARCH, /* their executables, and what is in their root */
	CAP_DAC_OVERRIDE,    /* write to their /proc/PID/mem (mode 0600, the owner's) */
	CAP_BPF,             /* programs and maps, */
	CAP_PERFMON,         /* attached to probes */
	CAP_SYS_ADMIN,       /* the same before Linux 5.8, and uprobes where perf is restricted */
	CAP_SYS_RESOURCE,    /* locked memory of BPF maps before 5.11; PSI windows of 1 s */
};

static bool is_kept(int cap)
{
	for (size_t i = 0; i < ARRAY_SIZE(kept); i++) {
		if (kept[i] == cap)
			return true;
	}
	return false;
}

int caps_drop(struct error *err)
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[_LINUX_CAPABILITY_U32S_3];
	uint32_t mask[_LINUX_CAPABILITY_U32S_3] = { 0 };

	for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++) {
		if (is_kept(cap))
			mask[cap / 32] |= 1u << cap % 32;
		else /* without CAP_SETPCAP there is nothing to give up: we are not root */
			(void)!prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
	}
	if (syscall(SYS_capget, &h, d) < 0)
		return error_sys(err, errno, "capabilities");
	for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		d[i].permitted &= mask[i];
		d[i].effective &= mask[i];
		d[i].inheritable &= mask[i];
	}
	return syscall(SYS_capset, &h, d) < 0 ? error_sys(err, errno, "capabilities") : 0;
}
