/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/jemalloc/jemalloc.h"

#include <elf.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "runtime/family.h"
#include "runtime/jemalloc/jemalloc_label.h"
#include "runtime/jemalloc/jemalloc_layout.h"

enum { MAX_PREFIXES = 4, PREFIX_BYTES = 64 };

/*
 * xallocx(ptr, size, extra, flags) resizes in place, to at least size and if it
 * can to size + extra, and returns what is then usable (jemalloc 5.3, man page).
 * Usable >= size + extra: all was granted. Usable >= size: that much. Less: it
 * failed and nothing changed, which is a realloc that returns NULL.
 */
#define XALLOCX                                                                                    \
	"ARG0 OLD END "                                                                            \
	"ARG1 ST0 ARG2 ADD0 ST1 "                                                                  \
	"RET SUB1 SHRI63 SKNZ5 LDT1 SIZE ARG0 PTR END "                                            \
	"RET SUB0 SHRI63 SKNZ5 RET SIZE ARG0 PTR END "                                             \
	"IMM0 PTR LDT0 SIZE END"

static const struct runtime_function functions[] = {
	{ "mallocx", PLAN_ALLOC, 0, FAMILY_SIZE0 },
	{ "rallocx", PLAN_REALLOC, 0, FAMILY_REALLOC },
	{ "xallocx", PLAN_REALLOC, 0, XALLOCX },
	{ "dallocx", PLAN_FREE, 0, FAMILY_FREE },
	{ "sdallocx", PLAN_FREE, 0, FAMILY_FREE_SIZED },
	{ NULL },
};

struct prefixes {
	struct elf_file *file;
	char names[MAX_PREFIXES][PREFIX_BYTES];
	size_t n;
};

static bool has_any(struct elf_file *f, const char *prefix, const char *const names[])
{
	char name[PREFIX_BYTES + 16];

	for (size_t i = 0; names[i]; i++) {
		snprintf(name, sizeof(name), "%s%s", prefix, names[i]);
		if (family_has(f, name))
			return true;
	}
	return false;
}

/* A linker that drops unused functions leaves a part of the family (Rust: no
 * _rjem_free), so one that allocates and one that frees will do. */
static bool is_family(struct elf_file *f, const char *prefix)
{
	static const char *const allocating[] = { "malloc", "mallocx", NULL };
	static const char *const freeing[] = { "free", "sdallocx", "dallocx", NULL };

	return has_any(f, prefix, allocating) && has_any(f, prefix, freeing);
}

static void add_prefix(struct prefixes *p, const char *prefix)
{
	for (size_t i = 0; i < p->n; i++)
		if (!strcmp(p->names[i], prefix))
			return;
	if (is_family(p->file, prefix))
		snprintf(p->names[p->n++], PREFIX_BYTES, "%s", prefix);
}

/* Whatever stands before a name that only jemalloc has is a prefix, if a family
 * has it. */
static int look_at(const struct elf_symbol *s, void *arg)
{
	static const char *const only_jemalloc[] = { "mallocx", "rallocx", "mallctl" };
	struct prefixes *p = arg;
	size_t len = strlen(s->name);

	if (!s->defined || s->type != STT_FUNC)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(only_jemalloc); i++) {
		size_t n = strlen(only_jemalloc[i]);
		char prefix[PREFIX_BYTES];

		if (len < n || len - n >= PREFIX_BYTES ||
		    strcmp(s->name + len - n, only_jemalloc[i]))
			continue;
		snprintf(prefix, sizeof(prefix), "%.*s", (int)(len - n), s->name);
		add_prefix(p, prefix);
	}
	return p->n == MAX_PREFIXES;
}

static struct prefixes find_prefixes(struct elf_file *f)
{
	struct prefixes p = { .file = f };

	elf_file_each_symbol(f, ELF_ALL, look_at, &p);
	return p;
}

static int detect(const struct runtime_view *v, struct error *err)
{
	struct symbol_module *m;

	for (size_t pos = 0; (m = runtime_next_module(v, &pos));)
		if (find_prefixes(symbol_module_elf(m)).n)
			return 1;
	return 0;
}

static int add(struct runtime_probes *to, struct symbol_module *m, const char *prefix,
               struct error *err)
{
	int r = family_add(to, &jemalloc_runtime, m, prefix, family_malloc, err);

	if (!r)
		r = family_add(to, &jemalloc_runtime, m, prefix, functions, err);
	/* operator new has no prefix: it belongs to a jemalloc that is malloc */
	if (!r && !*prefix)
		r = family_add(to, &jemalloc_runtime, m, "", family_cxx, err);
	return r;
}

static int alloc_probes(const struct runtime_view *v, struct runtime_probes *to, struct error *err)
{
	struct symbol_module *m;
	int r = 0;

	for (size_t pos = 0; !r && (m = runtime_next_module(v, &pos));) {
		struct prefixes p = find_prefixes(symbol_module_elf(m));

		for (size_t i = 0; !r && i < p.n; i++)
			r = add(to, m, p.names[i], err);
		if (!r && p.n)
			r = family_finish(to, &jemalloc_runtime, m, err);
	}
	return r;
}

static uint64_t block_bytes(uint64_t size)
{
	for (unsigned i = 0; i < JEMALLOC_LAYOUT_CLASSES; i++) {
		if (jemalloc_layout_class_bytes(i) >= size)
			return jemalloc_layout_class_bytes(i);
	}
	return size;
}

/* jemalloc 5, src/ctl.c: 4096 stands for all arenas (MALLCTL_ARENAS_ALL). Prefixes: Debian and
 * upstream have none, Rust's tikv-jemalloc-sys has _rjem_. */
#define MALLCTL                                                                                    \
	(const char *const[])                                                                      \
	{                                                                                          \
		"mallctl", "je_mallctl", "_rjem_mallctl", NULL                                     \
	}
static const struct runtime_trim trim = {
	.allocator = "jemalloc",
	.kinds = (const char *const[]){ REGIONS_JEMALLOC, NULL },
	.call = "mallctl(\"arena.4096.purge\")",
	.figure = "purge_bytes",
	.cached_is_used = true,
	.steps = { { .functions = MALLCTL,
	             .text = "thread.tcache.flush",
	             .each_thread = true,
	             .caches = true },
	           { .functions = MALLCTL, .text = "arena.4096.purge", .is_returned = true } },
	.is_mallctl = true,
};

const struct runtime_ops jemalloc_runtime = {
	.name = "jemalloc",
	.title = "jemalloc",
	.detect = detect,
	.alloc_probes = alloc_probes,
	.label_regions = jemalloc_label_regions,
	.block_bytes = block_bytes,
	.find_block = jemalloc_label_block,
	.trim = &trim,
};
