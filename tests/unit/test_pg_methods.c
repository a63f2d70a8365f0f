/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Method tables found in real servers' binaries against the names in their
 * .symtab, which the search itself never reads. Which binaries: the fixtures
 * given as arguments, and every PostgreSQL in the tests' cache.
 */

#include <fcntl.h>
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "runtime/postgres/pg_code.h"
#include "runtime/postgres/pg_methods.h"
#include "runtime/postgres/pg_ranges.h"

static char **fixtures;

static struct elf_file *open_elf(const char *path)
{
	struct elf_file *elf = NULL;
	struct error err;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || elf_file_open(fd, path, &elf, &err) < 0)
		fail_msg("%s: cannot open", path);
	return elf;
}

struct expected {
	const char *class, *method;
	uint64_t value;
	unsigned seen;
};

static int match(const struct elf_symbol *s, void *arg)
{
	struct expected *e = arg;
	char name[64];

	snprintf(name, sizeof(name), "%s%s", e->class, e->method);
	if (!s->defined || strcmp(s->name, name) != 0)
		return 0;
	e->seen++;
	if (s->value != e->value)
		fail_msg("%s is at 0x%llx, found 0x%llx", name, (unsigned long long)s->value,
		         (unsigned long long)e->value);
	return 0;
}

/* Every method found has the name it should; returns how many were compared. */
static unsigned compare(struct elf_file *elf, const struct pg_methods *m)
{
	unsigned compared = 0;

	for (unsigned c = 0; c < PG_N_CLASSES; c++) {
		for (unsigned k = 0; k < PG_N_METHODS && m->tables[c].found; k++) {
			struct expected e = { pg_methods_class_name(c), pg_methods_method_name(k),
				              m->tables[c].method[k], 0 };

			if (!e.value)
				continue;
			elf_file_each_symbol(elf, ELF_SYMTAB, match, &e);
			compared += e.seen != 0;
		}
	}
	return compared;
}

/* What a major must have: classes and, where .symtab is there, names. */
static void check_binary(const char *path, unsigned *compared)
{
	cleanup(elf_file_closep) struct elf_file *elf = open_elf(path);
	struct pg_methods m = { 0 };
	struct error err = { 0 };
	struct elf_symbol s;
	char version[32];
	unsigned named;
	int major;

	assert_int_equal(pg_methods_detect(elf), 1);
	pg_methods_version(elf, version, sizeof(version));
	major = strtol(version, NULL, 10);
	if (pg_methods_find(elf, &m, &err) < 0)
		fail_msg("%s: %s", path, err.message);
	named = compare(elf, &m);
	print_message("%s: version %s, %u methods named by .symtab\n", path, version, named);
	*compared += named;
	assert_true(m.tables[PG_ALLOCSET].found && m.tables[PG_SLAB].found);
	assert_int_equal(m.tables[PG_GENERATION].found, major >= 11);
	assert_int_equal(m.tables[PG_BUMP].found, major >= 17);
	assert_int_equal(m.tables[PG_ALIGNED].found, major >= 16);
	assert_int_equal(m.chunk_word, major >= 16);
	assert_int_equal(m.id_bits, major >= 17 ? 4 : major == 16 ? 3 : 0);
	assert_int_equal(m.unknown_alloc, 0);
	/* what has a symbol table must have agreed in full: 5 methods a class */
	if (elf_file_symbol(elf, ELF_SYMTAB, "AllocSetReset", &s) == 0)
		assert_true(named >= (major >= 17 ? 20u : major >= 11 ? 15u : 10u));
}

static void real_binaries(void **state)
{
	const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	unsigned compared = 0;
	char pattern[4096];
	glob_t g = { 0 };

	snprintf(pattern, sizeof(pattern), "%s%s/memwho-tests/postgres-*/native/bin/postgres",
	         cache  ? cache
	         : home ? home
	                : "",
	         cache ? "" : "/.cache");
	glob(pattern, 0, NULL, &g);
	glob("/usr/lib/postgresql/*/bin/postgres", GLOB_APPEND, NULL, &g);
	for (size_t i = 0; i < g.gl_pathc; i++)
		check_binary(g.gl_pathv[i], &compared);
	globfree(&g);
	for (char **p = fixtures; *p; p++)
		check_binary(*p, &compared);
	assert_true(compared > 0);
}

static bool in_ranges(const struct pg_ranges *r, uint64_t vaddr)
{
	for (size_t i = 0; i < r->n; i++)
		if (vaddr - r->items[i].vaddr < r->items[i].size)
			return true;
	return false;
}

/* The functions of a class's object file, by .symtab: in the ranges or not. */
struct coverage {
	struct elf_file *elf;
	const struct pg_ranges *ranges;
	unsigned wanted, missing;
};

static int wanted_function(const struct elf_symbol *s, void *arg)
{
	static const char *const names[] = { "AllocSetAllocLarge",    "AllocSetAllocFromNewBlock",
		                             "GenerationAllocLarge",  "GenerationAllocFromNewBlock",
		                             "BumpAllocLarge",        "BumpAllocFromNewBlock",
		                             "SlabAllocFromNewBlock", "SlabAllocSetupNewBlock",
		                             "AllocSetHelper",        "BumpHelper" };
	struct coverage *c = arg;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (!s->defined || strcmp(s->name, names[i]) != 0)
			continue;
		c->wanted++;
		if (!in_ranges(c->ranges, s->value + s->size - 1)) {
			print_message("%s is in no range\n", s->name);
			c->missing++;
		}
	}
	return 0;
}

/* Of everybody else's functions, none may be in a range. */
static int foreign_function(const struct elf_symbol *s, void *arg)
{
	/* lists' inline functions, when the compiler made a local function of one */
	static const char *const own[] = { "AllocSet", "Generation", "Slab",
		                           "Bump",     "dlist_",     "dclist_" };
	struct coverage *c = arg;

	if (!s->defined || s->type != 2 /* STT_FUNC */ || !in_ranges(c->ranges, s->value))
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		if (strncmp(s->name, own[i], strlen(own[i])) == 0)
			return 0;
	fail_msg("%s is in a range", s->name);
	return 0;
}

static void ranges_of(const char *path)
{
	cleanup(elf_file_closep) struct elf_file *elf = open_elf(path);
	cleanup(pg_code_functions_clear) struct pg_functions functions = { 0 };
	cleanup(pg_ranges_clear) struct pg_ranges ranges = { 0 };
	struct coverage c = { elf, &ranges, 0, 0 };
	struct pg_methods m = { 0 };
	struct error err;

	assert_int_equal(pg_methods_find(elf, &m, &err), 0);
	assert_int_equal(pg_code_functions(elf, &functions, &err), 0);
	for (unsigned k = 0; k < PG_N_CLASSES; k++)
		assert_int_equal(pg_ranges_add(elf, &functions, &m, k, &ranges, &err), 0);
	elf_file_each_symbol(elf, ELF_SYMTAB, wanted_function, &c);
	elf_file_each_symbol(elf, ELF_SYMTAB, foreign_function, &c);
	print_message("%s: %zu ranges, %u helpers\n", path, ranges.n, c.wanted);
	assert_int_equal(c.missing, 0);
}

static void ranges_hold_the_helpers_and_nobody_else(void **state)
{
	const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	char pattern[4096];
	glob_t g = { 0 };

	snprintf(pattern, sizeof(pattern), "%s%s/memwho-tests/postgres-*/native/bin/postgres",
	         cache  ? cache
	         : home ? home
	                : "",
	         cache ? "" : "/.cache");
	glob(pattern, 0, NULL, &g);
	for (size_t i = 0; i < g.gl_pathc; i++)
		ranges_of(g.gl_pathv[i]);
	globfree(&g);
	for (char **p = fixtures; *p; p++)
		ranges_of(*p);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(real_binaries),
		cmocka_unit_test(ranges_hold_the_helpers_and_nobody_else),
	};

	fixtures = argv + 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
