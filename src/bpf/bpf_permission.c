/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bpf/bpf_permission.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/kernel.h"
#include "target/permission.h"

#ifndef CAP_PERFMON /* Linux 5.8 */
#define CAP_PERFMON 38
#define CAP_BPF     39
#endif

static const char *const deeds[] = {
	[BPF_PERMISSION_LOAD] = "load BPF programs",
	[BPF_PERMISSION_UPROBE] = "set uprobes",
};

bool bpf_permission_is_refusal(int r)
{
	return r == -EPERM || r == -EACCES;
}

/* CAP_SYS_ADMIN stands for both CAP_BPF and CAP_PERFMON (capabilities(7)). */
static const char *missing(enum bpf_permission what)
{
	bool bpf = permission_has(CAP_BPF), perfmon = permission_has(CAP_PERFMON);

	if (permission_has(CAP_SYS_ADMIN))
		return NULL;
	/* kernel/events/core.c, perf_uprobe_event_init(): CAP_PERFMON was enough
	 * between 5.8 and 6.16 and in stable series of that time */
	if (what == BPF_PERMISSION_UPROBE)
		return "CAP_SYS_ADMIN is missing";
	if (bpf && perfmon)
		return NULL;
	return bpf ? "CAP_PERFMON is missing"
	           : (perfmon ? "CAP_BPF is missing" : "CAP_BPF and CAP_PERFMON are missing");
}

static int hint_missing(enum bpf_permission what, struct error *err)
{
	bool admin = what == BPF_PERMISSION_UPROBE;

	if (geteuid() == 0)
		return error_hint(err,
		                  "root does not have it here; if this is a container, start it "
		                  "with %s (docker, podman), or run memwho on the host",
		                  admin ? "--cap-add SYS_ADMIN --cap-add SYS_PTRACE"
		                        : "--cap-add BPF --cap-add PERFMON --cap-add SYS_PTRACE");
	return error_hint(err, "run the same command with sudo, or once: %s",
	                  admin ? PERMISSION_SETCAP_ADMIN : PERMISSION_SETCAP);
}

static int forbidden_to_all(enum bpf_permission what, int errnum, struct error *err)
{
	struct kernel_facts facts;

	kernel_facts(&facts);
	if (!strcmp(facts.lockdown, "confidentiality")) {
		error_set(err, errnum, "not permitted to %s: the kernel is locked down",
		          deeds[what]);
		return error_hint(err, "boot with lockdown=integrity or lockdown=none; "
		                       "/sys/kernel/security/lockdown is at confidentiality");
	}
	error_set(err, errnum, "not permitted to %s, although the capabilities are there",
	          deeds[what]);
	return error_hint(err, "a security module or a container's seccomp profile forbids it: "
	                       "allow bpf() and perf_event_open(), or run memwho on the host");
}

int bpf_permission_explain(enum bpf_permission what, int errnum, struct error *err)
{
	const char *which = missing(what);

	if (!which)
		return forbidden_to_all(what, errnum, err);
	error_set(err, errnum, "not permitted to %s: %s", deeds[what], which);
	return hint_missing(what, err);
}
