/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the malloc runtimes find in files, and whether each plan means what the
 * function's parameters say. argv: build folder of the unit tests. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "file_space.h"
#include "runtime/plan.h"

static const char *folder;

struct declaration {
	const char *name, *parameters;
};

#define NAMES(name, parameters) { #name, parameters },
#define NAMES_MALLOC
static const struct declaration malloc_names[] = {
#include "allocator_names.h"
	{ NULL }
};
#undef NAMES_MALLOC
#define NAMES(name, parameters) { #name, parameters },
#define NAMES_CXX
static const struct declaration cxx_names[] = {
#include "allocator_names.h"
	{ NULL }
};
#undef NAMES_CXX
#define NAMES(name, parameters) { #name, parameters },
#define NAMES_JEMALLOC
static const struct declaration jemalloc_names[] = {
#include "allocator_names.h"
	{ NULL }
};
#undef NAMES_JEMALLOC
#define NAMES(name, parameters) { #name, parameters },
#define NAMES_PARTIAL
static const struct declaration partial_names[] = {
#include "allocator_names.h"
	{ NULL }
};
#undef NAMES_PARTIAL
#define NAMES(name, parameters) { #name, parameters },
#define NAMES_TCMALLOC
static const struct declaration tcmalloc_names[] = {
#include "allocator_names.h"
	{ NULL }
};
#undef NAMES_TCMALLOC
#define NAMES(name, parameters) { #name, parameters },
#define NAMES_MIMALLOC
static const struct declaration mimalloc_names[] = {
#include "allocator_names.h"
	{ NULL }
};
#undef NAMES_MIMALLOC

/* ---- a call as the parameters describe it ---- */

enum { BLOCK = 0x7000, OLD_BLOCK = 0x6000, WORD_AT = 0x5000 };

struct call {
	bool throws, frees, extra, fill, io, allocates;
	int count, size, old, ptr, slot; /* argument numbers, -1: none */
	unsigned long long arg[4];
};

static struct call parse(const struct declaration *d)
{
	struct call c = { .count = -1, .size = -1, .old = -1, .ptr = -1, .slot = -1 };
	char text[64], *save = NULL;
	int n = 0;

	snprintf(text, sizeof(text), "%s", d->parameters);
	for (char *w = strtok_r(text, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
		c.throws |= !strcmp(w, "throws");
		c.frees |= !strcmp(w, "frees");
		c.extra |= !strcmp(w, "extra");
		if (!strcmp(w, "throws") || !strcmp(w, "frees") || !strcmp(w, "extra"))
			continue;
		if (!strcmp(w, "count"))
			c.count = n;
		if (!strcmp(w, "size"))
			c.size = n;
		if (!strcmp(w, "old"))
			c.old = n;
		if (!strcmp(w, "ptr"))
			c.ptr = n;
		if (!strcmp(w, "out") || !strcmp(w, "io"))
			c.slot = n;
		c.io |= !strcmp(w, "io");
		n++;
	}
	c.allocates = c.ptr < 0;
	for (int i = 0; i < 4; i++)
		c.arg[i] = 0xbad0 + i;
	if (c.count >= 0)
		c.arg[c.count] = 7;
	if (c.size >= 0)
		c.arg[c.size] = 48;
	if (c.old >= 0)
		c.arg[c.old] = OLD_BLOCK;
	if (c.ptr >= 0)
		c.arg[c.ptr] = BLOCK;
	if (c.slot >= 0)
		c.arg[c.slot] = WORD_AT;
	return c;
}

/* The only readable word of the made-up target. */
static unsigned long long word;

static int read_word(void *ctx, unsigned long long addr, void *buf, unsigned len)
{
	if (addr != WORD_AT || len != 8)
		return -EFAULT;
	memcpy(buf, &word, 8);
	return 0;
}

struct result {
	unsigned long long ptr, size, ctx, old;
};

static struct result run(const struct plan_code *code, unsigned from, const struct call *c,
                         unsigned long long ret)
{
	unsigned long long out[4] = { 0 };

	assert_int_equal(plan_run(code, from, c->arg, ret, read_word, NULL, out), 0);
	return (struct result){ out[0], out[1], out[2], out[3] };
}

/* The call works: a block of count * size. */
static void check_success(const struct plan_code *code, const struct call *c)
{
	bool by_slot = c->slot >= 0;
	struct result r;

	word = BLOCK;
	r = run(code, code->second, c, c->extra ? 48 : by_slot ? 0 : BLOCK);
	assert_int_equal(r.ptr, c->extra ? OLD_BLOCK : BLOCK);
	assert_int_equal(r.size, c->count >= 0 ? 7 * 48 : 48);
}

/* It fails: no pointer, and a size that says whether the old block lives on. */
static void check_failure(const struct plan_code *code, const struct call *c)
{
	struct call overflow = *c;
	struct result r;

	word = OLD_BLOCK;
	r = run(code, code->second, c, c->extra ? 47 : c->slot >= 0 ? ENOMEM : 0);
	assert_int_equal(r.ptr, 0);
	if (code->role == PLAN_REALLOC)
		assert_int_equal(r.size != 0, !c->frees);
	if (code->role != PLAN_REALLOC || c->count < 0)
		return;
	/* count * size is 2^64, which is not 0 bytes */
	overflow.arg[c->count] = overflow.arg[c->size] = 1ULL << 32;
	r = run(code, code->second, &overflow, c->slot >= 0 ? ENOMEM : 0);
	assert_int_equal(r.ptr, 0);
	assert_int_not_equal(r.size, 0);
	if (c->slot >= 0)
		return;
	/* 0 of something: freed */
	overflow.arg[c->count] = 0;
	r = run(code, code->second, &overflow, 0);
	assert_int_equal(r.ptr | r.size, 0);
}

static void check_plan(const struct plan_code *code, const struct declaration *d)
{
	struct call c = parse(d);

	assert_int_equal(code->flags, c.throws ? PLAN_THROWS : 0);
	if (!c.allocates) {
		assert_int_equal(code->role, PLAN_FREE);
		assert_int_equal(run(code, 0, &c, 0).ptr, BLOCK);
		assert_int_equal(code->second != 0, c.size >= 0);
		if (code->second)
			assert_int_equal(run(code, code->second, &c, 0).size, 48);
		return;
	}
	assert_int_equal(code->role, c.old >= 0 || c.io ? PLAN_REALLOC : PLAN_ALLOC);
	word = OLD_BLOCK;
	if (code->role == PLAN_REALLOC)
		assert_int_equal(run(code, 0, &c, 0).old, OLD_BLOCK);
	check_success(code, &c);
	check_failure(code, &c);
}

/* ---- finding them ---- */

static const struct runtime_probe *find(const struct runtime_probes *p, const char *name)
{
	for (size_t i = 0; i < p->n_probes; i++)
		if (!strcmp(p->probes[i].name, name))
			return &p->probes[i];
	return NULL;
}

static size_t check_names(const struct runtime_probes *p, const char *prefix,
                          const struct declaration *names)
{
	size_t n = 0;

	for (; names->name; names++, n++) {
		char name[128];
		const struct runtime_probe *found;

		snprintf(name, RUNTIME_PROBE_NAME_BYTES, "%s%s", prefix, names->name);
		found = find(p, name);
		if (!found)
			fail_msg("%s is not probed", name);
		assert_int_equal(found->at, found->vaddr);
		assert_false(found->single_stepped);
		check_plan(&found->code, names);
	}
	return n;
}

static void collect(const char *runtime, struct symbol_space *s, struct runtime_probes *p)
{
	struct runtime_view v = { .space = s };
	struct error err = { 0 };
	const struct runtime_ops *ops = registry_find(runtime);

	assert_int_equal(ops->detect(&v, &err), 1);
	if (ops->alloc_probes(&v, p, &err) < 0)
		fail_msg("%s: %s", runtime, err.message);
	for (size_t i = 0; i < p->n_probes; i++)
		assert_ptr_equal(p->probes[i].owner, ops);
}

static void open_names(const char *library, struct symbol_space *s)
{
	static char path[4096];

	snprintf(path, sizeof(path), "%s/%s.so", folder, library);
	assert_true(file_space_add(s, path));
}

static void every_name(void **state)
{
	static const struct {
		const char *library, *runtime, *prefix;
		const struct declaration *lists[3];
	} cases[] = {
		{ "names-jemalloc", "jemalloc", "", { malloc_names, jemalloc_names, cxx_names } },
		{ "names-prefixed", "jemalloc", "any_prefix_", { malloc_names, jemalloc_names } },
		{ "names-partial", "jemalloc", "_rjem_", { partial_names } },
		{ "names-tcmalloc", "tcmalloc", "", { malloc_names, tcmalloc_names, cxx_names } },
		{ "names-mimalloc", "mimalloc", "", { malloc_names, mimalloc_names, cxx_names } },
		{ "names-other", "other", "", { malloc_names, cxx_names } },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		cleanup(file_space_clear) struct symbol_space s = { 0 };
		cleanup(runtime_probes_clear) struct runtime_probes p = { 0 };
		size_t n = 0;

		open_names(cases[i].library, &s);
		collect(cases[i].runtime, &s, &p);
		for (int k = 0; k < 3 && cases[i].lists[k]; k++)
			n += check_names(&p, cases[i].prefix, cases[i].lists[k]);
		assert_int_equal(p.n_probes, n);
	}
}

/* Only the runtime that a library belongs to wants it. */
static void nobody_else(void **state)
{
	static const char *const libraries[][2] = { { "names-jemalloc", "jemalloc" },
		                                    { "names-prefixed", "jemalloc" },
		                                    { "names-tcmalloc", "tcmalloc" },
		                                    { "names-mimalloc", "mimalloc" },
		                                    { "names-other", "other" } };

	for (size_t i = 0; i < ARRAY_SIZE(libraries); i++) {
		cleanup(file_space_clear) struct symbol_space s = { 0 };
		struct runtime_view v = { .space = &s };
		struct error err;

		open_names(libraries[i][0], &s);
		for (size_t k = 0; registry_runtimes[k]; k++) {
			const struct runtime_ops *ops = registry_runtimes[k];

			if (ops->detect && strcmp(ops->name, "postgres"))
				assert_int_equal(ops->detect(&v, &err),
				                 !strcmp(ops->name, libraries[i][1]));
		}
	}
}

/* xallocx: all granted, a part of extra, nothing. */
static void resize_in_place(void **state)
{
	cleanup(file_space_clear) struct symbol_space s = { 0 };
	cleanup(runtime_probes_clear) struct runtime_probes p = { 0 };
	const struct plan_code *code;
	static const struct {
		unsigned long long usable, ptr, size;
	} cases[] = {
		{ 4096, OLD_BLOCK, 1100 }, { 1100, OLD_BLOCK, 1100 }, { 1050, OLD_BLOCK, 1050 },
		{ 1000, OLD_BLOCK, 1000 }, { 999, 0, 1000 },          { 0, 0, 1000 },
	};

	open_names("names-jemalloc", &s);
	collect("jemalloc", &s, &p);
	code = &find(&p, "xallocx")->code;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct call c = { .arg = { OLD_BLOCK, 1000, 100, 0 } };
		struct result r = run(code, code->second, &c, cases[i].usable);

		assert_int_equal(r.ptr, cases[i].ptr);
		assert_int_equal(r.size, cases[i].size);
	}
}

/* ---- real libraries; those that are not installed are passed over ---- */

static bool system_library(struct symbol_space *s, const char *name)
{
	static char path[256];

	snprintf(path, sizeof(path), "/usr/lib/x86_64-linux-gnu/%s", name);
	return file_space_add(s, path);
}

static void no_probe_twice(const struct runtime_probes *p)
{
	for (size_t i = 0; i < p->n_probes; i++)
		for (size_t k = 0; k < i; k++)
			assert_true(p->probes[i].vaddr != p->probes[k].vaddr ||
			            p->probes[i].module != p->probes[k].module);
}

static bool in_range(const struct runtime_probes *p, uint64_t vaddr)
{
	for (size_t i = 0; i < p->n_ranges; i++)
		if (vaddr >= p->ranges[i].vaddr && vaddr - p->ranges[i].vaddr < p->ranges[i].size)
			return true;
	return false;
}

/* glibc's reallocarray must reach realloc, or its blocks would be missed. */
static void reallocarray_reaches_realloc(struct elf_file *f)
{
	struct elf_symbol s;
	uint8_t code[256] = { 0 };
	struct error err;
	bool leaves = false;

	assert_int_equal(elf_file_symbol(f, ELF_DYNSYM, "reallocarray", &s), 0);
	assert_true(s.size < sizeof(code));
	assert_int_equal(elf_file_read_vaddr(f, s.value, code, s.size, &err), 0);
	for (size_t i = 0; i + 5 <= s.size; i++)
		leaves |= code[i] == 0xe8 || code[i] == 0xe9;
	assert_true(leaves);
}

static void system_glibc(void **state)
{
	cleanup(file_space_clear) struct symbol_space s = { 0 };
	cleanup(runtime_probes_clear) struct runtime_probes p = { 0 };
	static const char *const wanted[] = { "malloc",         "calloc", "realloc", "memalign",
		                              "posix_memalign", "valloc", "pvalloc", "free" };
	const struct plan_code *code;
	struct call c = { .arg = { WORD_AT + 8 } };

	if (!system_library(&s, "libc.so.6"))
		skip();
	collect("libc", &s, &p);
	no_probe_twice(&p);
	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
		if (!find(&p, wanted[i]))
			fail_msg("%s", wanted[i]);
		assert_false(find(&p, wanted[i])->single_stepped);
	}
	assert_null(find(&p, "reallocarray"));
	assert_int_equal(p.n_gaps, 0);
	reallocarray_reaches_realloc(s.modules[0].elf);
	/* older blocks: the chunk's size word, a heap chunk and a mapping of its own */
	code = &find(&p, "free")->code;
	word = 0x70 | 1;
	assert_int_equal(run(code, code->second, &c, 0).size, 0x68);
	word = 0x50000 | 2;
	assert_int_equal(run(code, code->second, &c, 0).size, 0x50000 - 16);
	c.arg[0] = 0;
	assert_int_equal(run(code, code->second, &c, 0).size, 0);
}

static void system_jemalloc(void **state)
{
	cleanup(file_space_clear) struct symbol_space s = { 0 };
	cleanup(runtime_probes_clear) struct runtime_probes p = { 0 };

	if (!system_library(&s, "libjemalloc.so.2"))
		skip();
	collect("jemalloc", &s, &p);
	no_probe_twice(&p);
	assert_int_equal(find(&p, "_Znwm")->code.flags, PLAN_THROWS);
	/* operator new(size, align) calls aligned_alloc and nothing before it */
	assert_null(find(&p, "_ZnwmSt11align_val_t"));
	assert_non_null(find(&p, "_ZnwmSt11align_val_tRKSt9nothrow_t"));
	/* operator new[] is a jump to operator new, delete one to free */
	assert_null(find(&p, "_Znam"));
	assert_null(find(&p, "_ZdlPv"));
	assert_true(p.n_ranges > 0);
	for (size_t i = 0; i < p.n_probes; i++)
		assert_false(p.probes[i].single_stepped);
}

static void system_tcmalloc(void **state)
{
	cleanup(file_space_clear) struct symbol_space s = { 0 };
	cleanup(runtime_probes_clear) struct runtime_probes p = { 0 };

	if (!system_library(&s, "libtcmalloc.so.4"))
		skip();
	collect("tcmalloc", &s, &p);
	no_probe_twice(&p);
	assert_int_equal(find(&p, "_Znwm")->code.flags, PLAN_THROWS);
	assert_null(find(&p, "tc_malloc")); /* a second name of malloc */
	assert_non_null(find(&p, "tc_malloc_skip_new_handler"));
}

static void system_mimalloc(void **state)
{
	cleanup(file_space_clear) struct symbol_space s = { 0 };
	cleanup(runtime_probes_clear) struct runtime_probes p = { 0 };

	if (!system_library(&s, "libmimalloc.so.2"))
		skip();
	collect("mimalloc", &s, &p);
	no_probe_twice(&p);
	assert_non_null(find(&p, "malloc"));
	assert_non_null(find(&p, "mi_heap_malloc"));
	/* realloc puts the heap before its arguments and jumps; so does memalign,
	 * by way of another wrapper */
	assert_null(find(&p, "realloc"));
	assert_non_null(find(&p, "mi_heap_realloc"));
	assert_null(find(&p, "memalign"));
	assert_non_null(find(&p, "mi_heap_malloc_aligned"));
	/* rounds the size up: its own size is what was asked for */
	assert_non_null(find(&p, "pvalloc"));
	assert_int_equal(p.n_gaps, 2);
	assert_string_equal(p.gaps[0].name, "mi_heap_destroy");
	assert_string_equal(p.gaps[1].name, "mi_strdup");
}

/* A library for nothing, between others. */
static void none_there(void **state)
{
	cleanup(file_space_clear) struct symbol_space s = { 0 };
	struct runtime_view v = { .space = &s };
	struct error err;

	if (!system_library(&s, "libm.so.6") || !system_library(&s, "ld-linux-x86-64.so.2"))
		skip();
	for (size_t k = 0; registry_runtimes[k]; k++)
		if (registry_runtimes[k]->detect && strcmp(registry_runtimes[k]->name, "postgres"))
			assert_int_equal(registry_runtimes[k]->detect(&v, &err), 0);
}

/* musl's malloc is a jump to the real one; its aligned_alloc calls that, so both
 * must be known with their extents. */
static void static_musl(void **state)
{
	cleanup(file_space_clear) struct symbol_space s = { 0 };
	cleanup(runtime_probes_clear) struct runtime_probes p = { 0 };
	static char path[4096];
	struct elf_symbol stub, real;

	snprintf(path, sizeof(path), "%s/../programs/hold-musl", folder);
	if (!file_space_add(&s, path))
		skip();
	collect("musl", &s, &p);
	no_probe_twice(&p);
	assert_int_equal(elf_file_symbol(s.modules[0].elf, ELF_ALL, "malloc", &stub), 0);
	assert_int_equal(elf_file_symbol(s.modules[0].elf, ELF_ALL, "__libc_malloc_impl", &real),
	                 0);
	assert_int_equal(find(&p, "malloc")->vaddr, real.value);
	assert_int_equal(find(&p, "malloc")->size, real.size);
	assert_int_not_equal(real.value, stub.value);
	for (size_t i = 0; i < p.n_probes; i++)
		assert_int_not_equal(p.probes[i].size, 0);
}

/* In a static program _mid_memalign is what memalign and others jump to. */
static void static_glibc(void **state)
{
	cleanup(file_space_clear) struct symbol_space s = { 0 };
	cleanup(runtime_probes_clear) struct runtime_probes p = { 0 };
	static char path[4096];
	struct elf_symbol helper;

	snprintf(path, sizeof(path), "%s/../programs/hold-static", folder);
	if (!file_space_add(&s, path))
		skip();
	collect("libc", &s, &p);
	no_probe_twice(&p);
	assert_non_null(find(&p, "malloc"));
	assert_null(find(&p, "_Znwm")); /* libstdc++'s: calls malloc */
	if (!elf_file_symbol(s.modules[0].elf, ELF_ALL, "_mid_memalign.constprop.0", &helper))
		assert_true(in_range(&p, helper.value));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_name),      cmocka_unit_test(nobody_else),
		cmocka_unit_test(resize_in_place), cmocka_unit_test(system_glibc),
		cmocka_unit_test(system_jemalloc), cmocka_unit_test(system_tcmalloc),
		cmocka_unit_test(system_mimalloc), cmocka_unit_test(none_there),
		cmocka_unit_test(static_musl),     cmocka_unit_test(static_glibc),
	};

	folder = argc > 1 ? argv[1] : ".";
	return cmocka_run_group_tests(tests, NULL, NULL);
}
