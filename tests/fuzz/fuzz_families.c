/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A whole ELF file in which allocators are looked for: names, code, stubs. */

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../unit/file_space.h"
#include "base/cleanup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What engines rely on. */
static void check(const struct runtime_probes *p)
{
	for (size_t i = 0; i < p->n_probes; i++) {
		const struct runtime_probe *probe = &p->probes[i];

		if (!probe->size || probe->at < probe->vaddr ||
		    probe->at - probe->vaddr >= probe->size || probe->code.n > PLAN_MAX_UOPS ||
		    probe->code.second >= PLAN_MAX_UOPS)
			abort();
	}
	for (size_t i = 0; i < p->n_ranges; i++)
		if (!p->ranges[i].size)
			abort();
}

static void look(const struct runtime_ops *ops, const struct runtime_view *v)
{
	cleanup(runtime_probes_clear) struct runtime_probes p = { 0 };
	struct error err = { 0 };

	if (ops->detect(v, &err) > 0 && !ops->alloc_probes(v, &p, &err))
		check(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup(file_space_clear) struct symbol_space s = { 0 };
	struct runtime_view v = { .space = &s };
	char why[256];
	int fd = memfd_create("families", MFD_CLOEXEC);

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	if (!file_space_add_fd(&s, fd, "fuzzed"))
		return 0;
	for (size_t i = 0; registry_runtimes[i]; i++)
		if (registry_runtimes[i]->alloc_probes &&
		    strcmp(registry_runtimes[i]->name, "postgres"))
			look(registry_runtimes[i], &v);
	runtime_why_none(&v, why, sizeof(why));
	return 0;
}
