/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/feature.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char variable[] = "MEMWHO_WITHOUT";

static const char *const names[] = {
	"btf",            /* /sys/kernel/btf/vmlinux */
	"btf_enum64",     /* libbpf 1.0: type information as new kernels have it */
	"uprobe_multi",   /* 6.6: one link for many uprobes */
	"uprobe_session", /* 6.13: entry and return in one program */
	"bpf_loop",       /* 5.17 */
	"bpf",            /* the bpf() system call at all */
	"pagemap_scan",   /* 6.7: PAGEMAP_SCAN */
	"procmap_query",  /* 6.11: PROCMAP_QUERY */
	"openat2",        /* 5.6 */
	"fentry",         /* programs on kernel functions: CONFIG_FUNCTION_TRACER and permission */
	"map_files",      /* /proc/PID/map_files: CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN */
	"debuginfod",     /* libdebuginfod.so.1 */
	"code_tail",      /* room for a first stub behind a program's code */
	"vdso_tail",      /* the same behind the vdso's, where it is needed */
	"fork_events",    /* perf_event_open() of the whole machine's forks */
	"cache",          /* unwind tables on disk */
	"table_growth",   /* memory for more than the first level of the live table */
	NULL,
};

static const char separators[] = ", ";

bool feature_allowed_in(const char *without, const char *name)
{
	size_t len = strlen(name);

	for (const char *p = without ? without : ""; *p;) {
		size_t n = strcspn(p, separators);

		if (n == len && !memcmp(p, name, len))
			return false;
		p += n;
		p += strspn(p, separators);
	}
	return true;
}

bool feature_allowed(const char *name)
{
	return feature_allowed_in(getenv(variable), name);
}

const char *const *feature_names(void)
{
	return names;
}

static bool known(const char *name, size_t len)
{
	for (size_t i = 0; names[i]; i++) {
		if (strlen(names[i]) == len && !memcmp(names[i], name, len))
			return true;
	}
	return false;
}

int feature_check(struct error *err)
{
	const char *p = getenv(variable);

	p = p ? p + strspn(p, separators) : "";
	while (*p) {
		size_t n = strcspn(p, separators);

		if (!known(p, n)) {
			error_set(err, EINVAL, "%s: no feature is called '%.*s'", variable, (int)n,
			          p);
			return error_hint(err, "see 'memwho doctor' for the names");
		}
		p += n;
		p += strspn(p, separators);
	}
	return 0;
}
