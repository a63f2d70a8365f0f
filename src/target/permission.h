/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Why the kernel does not let us look, and what the user can do about it. The
 * kernel only says EACCES; the reasons are those of ptrace(2), "Ptrace access
 * mode checking", asked again here one by one.
 */

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"

/* The command that gives memwho all that it may need to somebody who is not root;
 * the second one for kernels that let only CAP_SYS_ADMIN set uprobes. */
#define PERMISSION_SETCAP                                                                          \
	"sudo setcap cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search=ep "                   \
	"\"$(command -v memwho)\""
#define PERMISSION_SETCAP_ADMIN                                                                    \
	"sudo setcap cap_sys_admin,cap_sys_ptrace,cap_dac_read_search=ep \"$(command -v memwho)\""

enum permission_mode {
	PERMISSION_READ,   /* maps, exe, root: PTRACE_MODE_READ */
	PERMISSION_ATTACH, /* mem: PTRACE_MODE_ATTACH, which Yama restricts further */
};

/* Does this thread have capability @cap (CAP_SYS_PTRACE...) in its effective set? */
bool permission_has(int cap);

/* /proc/sys/kernel/yama/ptrace_scope, or 0 where there is no Yama. */
int permission_ptrace_scope(void);

/* Fill @err for a denied access to the process whose /proc directory is
 * @proc_fd; @errnum is what the kernel said. Returns -errnum. */
int permission_explain(pid_t pid, int proc_fd, enum permission_mode mode, int errnum,
                       struct error *err);
