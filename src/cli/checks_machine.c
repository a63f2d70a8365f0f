/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/kernel.h"
#include "cli/checks.h"
#include "target/permission.h"

static const char as_root[] = "run as root (sudo memwho ...), or once: " PERMISSION_SETCAP;
static const char see_privileges[] = "see privileges";

static int check_kernel(struct checks *to, const struct kernel_facts *f, struct error *err)
{
	const char *without = getenv("MEMWHO_WITHOUT");
	int r = checks_add(to, "kernel", CHECKS_OK, "", err, "Linux %s on %s", f->release,
	                   f->machine);

	if (r == 0 && without && without[0])
		r = checks_add(to, "MEMWHO_WITHOUT", CHECKS_LIMITED, "unset MEMWHO_WITHOUT", err,
		               "acts as if the kernel had no %s", without);
	return r;
}

static int check_capabilities(struct checks *to, const struct kernel_facts *f, struct error *err)
{
	bool bpf = kernel_capable(f, KERNEL_CAP_BPF);
	bool perfmon = kernel_capable(f, KERNEL_CAP_PERFMON);
	bool ptrace = kernel_capable(f, KERNEL_CAP_SYS_PTRACE);
	int r;

	if (bpf && perfmon)
		r = checks_add(to, "privileges", CHECKS_OK, "", err, "CAP_BPF and CAP_PERFMON");
	else
		r = checks_add(to, "privileges", CHECKS_MISSING, as_root, err, "no %s%s%s",
		               bpf ? "" : "CAP_BPF", bpf || perfmon ? "" : ", no ",
		               perfmon ? "" : "CAP_PERFMON");
	if (r < 0 || ptrace)
		return r;
	return checks_add(to, "other users", CHECKS_LIMITED, see_privileges, err,
	                  "no CAP_SYS_PTRACE: only processes of this user can be read");
}

/* Newer kernels let perf set uprobes for CAP_SYS_ADMIN alone (bpf_permission.c);
 * uprobe_multi is set without it, but stays in forked children. */
static int check_administrator(struct checks *to, const struct kernel_facts *f, struct error *err)
{
	if (!kernel_capable(f, KERNEL_CAP_BPF) || kernel_capable(f, KERNEL_CAP_SYS_ADMIN))
		return 0;
	if (f->features[KERNEL_UPROBE_MULTI] == KERNEL_YES)
		return checks_add(to, "forking processes", CHECKS_LIMITED, PERMISSION_SETCAP_ADMIN,
		                  err,
		                  "no CAP_SYS_ADMIN: their children may be slowed down, too, until "
		                  "the end");
	return checks_add(to, "uprobes without CAP_SYS_ADMIN", CHECKS_LIMITED,
	                  PERMISSION_SETCAP_ADMIN, err, "kernels since 2025 refuse them");
}

static int check_bpf(struct checks *to, const struct kernel_facts *f, struct error *err)
{
	switch (f->features[KERNEL_BPF]) {
	case KERNEL_YES: return checks_add(to, "bpf", CHECKS_OK, "", err, "programs load");
	case KERNEL_NO:
		return checks_add(to, "bpf", CHECKS_MISSING,
		                  "boot a kernel with CONFIG_BPF_SYSCALL and CONFIG_BPF_EVENTS",
		                  err, "this kernel takes no BPF program for uprobes");
	case KERNEL_UNKNOWN: break;
	}
	if (!kernel_capable(f, KERNEL_CAP_BPF))
		return checks_add(to, "bpf", CHECKS_MISSING, see_privileges, err,
		                  "cannot be tried without CAP_BPF");
	return checks_add(to, "bpf", CHECKS_MISSING,
	                  "in a container: its seccomp profile must allow bpf() and "
	                  "perf_event_open(), or run memwho on the host",
	                  err, "refused although the capabilities are there");
}

struct wanted {
	enum kernel_feature feature;
	enum checks_state without; /* how bad is it to be without */
	const char *yes, *no, *remedy;
};

static const struct wanted wanted[] = {
	{ KERNEL_BTF, CHECKS_MISSING, "the kernel describes its types",
	  "no /sys/kernel/btf/vmlinux", "boot a kernel with CONFIG_DEBUG_INFO_BTF" },
	{ KERNEL_UPROBES, CHECKS_MISSING, "probes can be set in programs", "no uprobe event source",
	  "boot a kernel with CONFIG_UPROBE_EVENTS" },
	{ KERNEL_BPF_LOOP, CHECKS_MISSING, "stacks are walked in the kernel", "no bpf_loop helper",
	  "boot Linux 5.17 or newer" },
	{ KERNEL_UPROBE_SESSION, CHECKS_LIMITED, "an allocator's own operator new can be covered",
	  "an allocator's own operator new (tcmalloc) cannot be covered",
	  "boot Linux 6.13 or newer" },
	{ KERNEL_PAGEMAP_SCAN, CHECKS_OK, "fast look at present pages",
	  "present pages are found by pagemap", "" },
	{ KERNEL_PROCMAP_QUERY, CHECKS_OK, "single mappings can be asked for",
	  "mappings are read as text", "" },
};

static int check_features(struct checks *to, const struct kernel_facts *f, struct error *err)
{
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(wanted) && r == 0; i++) {
		const struct wanted *w = &wanted[i];
		const char *name = kernel_feature_name(w->feature);

		switch (f->features[w->feature]) {
		case KERNEL_YES: r = checks_add(to, name, CHECKS_OK, "", err, "%s", w->yes); break;
		case KERNEL_NO:
			r = checks_add(to, name, w->without, w->remedy, err, "%s", w->no);
			break;
		case KERNEL_UNKNOWN:
			r = checks_add(to, name, CHECKS_LIMITED, see_privileges, err,
			               "cannot be tried without privileges");
		}
	}
	return r;
}

static int check_policy(struct checks *to, const struct kernel_facts *f, struct error *err)
{
	int r = 0;

	if (!strcmp(f->lockdown, "confidentiality"))
		r = checks_add(to, "lockdown", CHECKS_MISSING,
		               "boot with lockdown=integrity or lockdown=none", err,
		               "kernel lockdown (confidentiality) forbids tracing");
	else if (f->lockdown[0])
		r = checks_add(to, "lockdown", CHECKS_OK, "", err, "%s", f->lockdown);
	if (r == 0 && f->perf_event_paranoid != INT_MIN)
		/* it does not bind who has CAP_PERFMON */
		r = checks_add(to, "perf_event_paranoid", CHECKS_OK, "", err,
		               "%d (does not matter with CAP_PERFMON)", f->perf_event_paranoid);
	if (r < 0 || f->ptrace_scope < 0)
		return r;
	if (f->ptrace_scope == 3 ||
	    (f->ptrace_scope > 0 && !kernel_capable(f, KERNEL_CAP_SYS_PTRACE)))
		return checks_add(
			to, "ptrace_scope", CHECKS_LIMITED,
			f->ptrace_scope == 3 ? "reboot with kernel.yama.ptrace_scope=1" : as_root,
			err, "%d: memory of other processes cannot be read", f->ptrace_scope);
	return checks_add(to, "ptrace_scope", CHECKS_OK, "", err, "%d", f->ptrace_scope);
}

static int check_debuginfod(struct checks *to, struct error *err)
{
	const char *urls = getenv("DEBUGINFOD_URLS");

	if (urls && urls[0])
		return checks_add(to, "debuginfod", CHECKS_OK, "", err, "asks %s", urls);
	return checks_add(to, "debuginfod", CHECKS_OK, "", err,
	                  "not used: DEBUGINFOD_URLS is not set");
}

int checks_machine(struct checks *to, struct error *err)
{
	struct kernel_facts facts;
	int r;

	kernel_facts(&facts);
	r = check_kernel(to, &facts, err);
	if (r == 0)
		r = check_capabilities(to, &facts, err);
	if (r == 0)
		r = check_administrator(to, &facts, err);
	if (r == 0)
		r = check_bpf(to, &facts, err);
	if (r == 0)
		r = check_features(to, &facts, err);
	if (r == 0)
		r = check_policy(to, &facts, err);
	return r < 0 ? r : check_debuginfod(to, err);
}
