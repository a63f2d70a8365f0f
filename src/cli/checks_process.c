/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/checks.h"
#include "runtime/runtime.h"
#include "symbol/symbol.h"
#include "target/target.h"

static int check_tracer(struct checks *to, const struct target *t, struct error *err)
{
	cleanup_free char *status = NULL;
	const char *line;
	size_t len;
	long tracer;

	if (target_proc_file(t, "status", 1 << 16, &status, &len, err) < 0)
		return checks_add(to, "status", CHECKS_LIMITED, "", err, "it cannot be read");
	line = strstr(status, "\nTracerPid:");
	tracer = line ? strtol(line + strlen("\nTracerPid:"), NULL, 10) : 0;
	if (!tracer)
		return checks_add(to, "tracer", CHECKS_OK, "", err, "none");
	return checks_add(to, "tracer", CHECKS_OK, "", err,
	                  "process %ld traces it; memwho's probes do not mind", tracer);
}

static int check_namespace(struct checks *to, const struct target *t, struct error *err)
{
	if (t->same_mount_ns)
		return checks_add(to, "namespace", CHECKS_OK, "", err, "sees our files");
	return checks_add(to, "namespace", CHECKS_OK, "", err,
	                  "own mount namespace (container): files are read through its root");
}

static int check_memory(struct checks *to, const struct target *t, struct error *err)
{
	cleanup_close int fd = openat(t->proc_fd, "mem", O_RDONLY | O_CLOEXEC);

	if (fd >= 0)
		return checks_add(to, "memory", CHECKS_OK, "", err, "can be read");
	return checks_add(to, "memory", CHECKS_LIMITED, "run as root, or grant CAP_SYS_PTRACE", err,
	                  "cannot be read (%s): no names of memory contexts", strerror(errno));
}

/* What an engine would probe for @ops. */
static int check_probes(struct checks *to, const struct runtime_view *view,
                        const struct runtime_ops *ops, struct error *err)
{
	cleanup(runtime_probes_clear) struct runtime_probes probes = { 0 };
	struct error why = { 0 };
	size_t dear = 0;

	if (ops->alloc_probes(view, &probes, &why) < 0)
		return checks_add(to, ops->name, CHECKS_LIMITED, why.hint, err, "%s", why.message);
	for (size_t i = 0; i < probes.n_probes; i++)
		dear += probes.probes[i].single_stepped;
	if (probes.n_gaps)
		return checks_add(to, ops->name, CHECKS_LIMITED, "", err,
		                  "%s: %zu functions to probe; not covered: %s (%s)%s", ops->title,
		                  probes.n_probes, probes.gaps[0].name, probes.gaps[0].reason,
		                  probes.n_gaps > 1 ? " and more" : "");
	if (dear)
		return checks_add(to, ops->name, CHECKS_LIMITED, "", err,
		                  "%s: %zu functions to probe, %zu of them at a slow place",
		                  ops->title, probes.n_probes, dear);
	return checks_add(to, ops->name, CHECKS_OK, "", err, "%s: %zu functions to probe",
	                  ops->title, probes.n_probes);
}

/* What has no symbols, and where its functions are known from. */
static int check_found(struct checks *to, const struct runtime_view *view, struct error *err)
{
	struct symbol_module *m;

	for (size_t pos = 0; (m = runtime_next_module(view, &pos));) {
		size_t n;
		const char *title = symbol_module_found(m, &n);
		int r = n ? checks_add(to, "code", CHECKS_OK, "", err,
		                       "%s has no symbols; found by its code: %s, %zu functions",
		                       symbol_module_path(m), title, n)
		          : 0;

		if (r < 0)
			return r;
	}
	return 0;
}

static int check_allocators(struct checks *to, const struct target *t, struct error *err)
{
	cleanup(symbol_pool_freep) struct symbol_pool *pool = NULL;
	cleanup(symbol_space_freep) struct symbol_space *space = NULL;
	const struct symbol_options options = { .no_debuginfod = true, .no_inline = true };
	struct runtime_view view = { .target = t };
	struct error why = { 0 };
	size_t found = 0;

	if (symbol_pool_new(&options, &pool, &why) < 0 ||
	    symbol_space_new(pool, t, &space, &why) < 0 || symbol_space_refresh(space, t, &why) < 0)
		return checks_add(to, "modules", CHECKS_MISSING, why.hint, err, "%s", why.message);
	view.space = space;
	for (size_t i = 0; registry_runtimes[i]; i++) {
		const struct runtime_ops *ops = registry_runtimes[i];
		int r;

		if (!ops->alloc_probes || !ops->detect || ops->detect(&view, &why) <= 0)
			continue;
		found++;
		r = check_probes(to, &view, ops, err);
		if (r < 0)
			return r;
	}
	if (found)
		return check_found(to, &view, err);
	return checks_add(
		to, "allocator", CHECKS_MISSING,
		"static and stripped: `memwho alloc --archive LIB.a` with the library that it "
		"was linked with",
		err, "no allocator that memwho knows was found in its modules");
}

int checks_process(struct checks *to, pid_t pid, struct error *err)
{
	cleanup(target_closep) struct target *t = NULL;
	struct error why = { 0 };
	int r;

	if (target_open(pid, &t, &why) < 0)
		return checks_add(to, "process", CHECKS_MISSING, why.hint, err, "%s", why.message);
	r = checks_add(to, "process", CHECKS_OK, "", err, "%d %s%s%s", pid, t->comm,
	               t->exe[0] ? ", " : "", t->exe);
	if (r == 0)
		r = check_namespace(to, t, err);
	if (r == 0)
		r = check_tracer(to, t, err);
	if (r == 0)
		r = check_memory(to, t, err);
	return r < 0 ? r : check_allocators(to, t, err);
}
