/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What the running kernel offers to this process, found by trying, not by
 * version numbers: distributions backport and switch off. Looking changes
 * nothing. A feature that MEMWHO_WITHOUT names (base/feature.h) is "no".
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum kernel_answer {
	KERNEL_NO,
	KERNEL_YES,
	KERNEL_UNKNOWN, /* we may not even ask: privileges are missing */
};

enum kernel_feature {
	KERNEL_BTF,            /* /sys/kernel/btf/vmlinux */
	KERNEL_BPF,            /* a kprobe-type program loads */
	KERNEL_UPROBES,        /* perf's uprobe PMU */
	KERNEL_BPF_LOOP,       /* 5.17 */
	KERNEL_UPROBE_MULTI,   /* 6.6 */
	KERNEL_UPROBE_SESSION, /* 6.13 */
	KERNEL_PAGEMAP_SCAN,   /* 6.7 */
	KERNEL_PROCMAP_QUERY,  /* 6.11 */
	KERNEL_N_FEATURES,
};

/* Bits of kernel_facts.capabilities (linux/capability.h). */
enum kernel_capability {
	KERNEL_CAP_SYS_PTRACE = 19,
	KERNEL_CAP_SYS_ADMIN = 21,
	KERNEL_CAP_PERFMON = 38,
	KERNEL_CAP_BPF = 39,
};

struct kernel_facts {
	char release[65];
	char machine[65];
	enum kernel_answer features[KERNEL_N_FEATURES];
	uint64_t capabilities;   /* effective set of this process */
	int perf_event_paranoid; /* INT_MIN: no such file */
	int ptrace_scope;        /* Yama; -1: not built in */
	char lockdown[32];       /* "none", "integrity", "confidentiality"; "" not built in */
};

/* One feature; MEMWHO_WITHOUT is heeded. */
enum kernel_answer kernel_has(enum kernel_feature f);
/* Never fails: what cannot be found out is KERNEL_UNKNOWN or empty. */
void kernel_facts(struct kernel_facts *ret);
/* Stable name, as in MEMWHO_WITHOUT and in --version --json. */
const char *kernel_feature_name(enum kernel_feature f);
/* CAP_SYS_ADMIN stands for CAP_BPF and CAP_PERFMON, as in the kernel. */
bool kernel_capable(const struct kernel_facts *facts, enum kernel_capability cap);
