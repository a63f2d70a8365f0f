/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/jemalloc/jemalloc_control.h"

#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "runtime/function.h"
#include "runtime/jemalloc/jemalloc_code.h"
#include "target/elf_file.h"

/* Where the arguments of a call are, behind inject_scratch(). */
enum { NAME_AT = 0, NAME_BYTES = 256, LEN_AT = 256, OLD_AT = 512, NEW_AT = 1024, TEXT_AT = 2048 };

/* ---- where it is ---- */

struct search {
	const struct symbol_mapping *mapping;
	struct jemalloc_control *found;
	size_t n;
};

/* Any prefix will do: it is what the program's own build chose. */
static int look_at(const struct elf_symbol *s, void *arg)
{
	static const char name[] = "mallctl";
	const size_t len = strlen(s->name), n = sizeof(name) - 1;
	struct search *to = arg;
	uint64_t at = s->value + to->mapping->bias;

	if (!s->defined || s->type != STT_FUNC || len < n || strcmp(s->name + len - n, name) ||
	    at == to->found->mallctl)
		return 0;
	to->n++;
	to->found->mallctl = at;
	snprintf(to->found->symbol, sizeof(to->found->symbol), "%s", s->name);
	return 0;
}

static int refuse(const struct target *t, const struct search *s, struct error *err)
{
	if (s->n > 1) {
		error_set(err, ENOTSUP,
		          "process %d (%s) has more than one jemalloc: which one is meant is not "
		          "known",
		          (int)t->pid, t->comm);
		return error_hint(err, "memwho %d shows what each holds", (int)t->pid);
	}
	if (s->n) {
		error_set(
			err, ENOTSUP,
			"jemalloc of process %d (%s): no module has a symbol __errno_location, so "
			"a thread's errno could not be kept",
			(int)t->pid, t->comm);
		return error_hint(err, "a program that is linked statically must not be stripped");
	}
	error_set(err, ENOTSUP, "process %d (%s) has no function mallctl: no jemalloc", (int)t->pid,
	          t->comm);
	return error_hint(err, "memwho %d shows its allocators; memwho alloc %d who holds what",
	                  (int)t->pid, (int)t->pid);
}

static int take_code(struct jemalloc_control *to, const struct jemalloc_code *code, uint64_t bias,
                     struct error *err)
{
	free(to->ranges);
	to->n_ranges = 0;
	to->ranges = calloc(code->n_ranges, sizeof(*to->ranges));
	if (!to->ranges)
		return error_oom(err);
	for (size_t i = 0; i < code->n_ranges; i++)
		to->ranges[to->n_ranges++] = (struct inject_range){ code->ranges[i].start + bias,
			                                            code->ranges[i].end + bias };
	to->mallctl = code->mallctl + bias;
	return 0;
}

static struct elf_file *elf_of(const struct symbol_space *space, size_t i,
                               const struct symbol_mapping **ret)
{
	*ret = symbol_space_at(space, i);
	return (*ret)->module && !(*ret)->gone ? symbol_module_elf((*ret)->module) : NULL;
}

/* In modules without names. A module with code in two mappings is one. */
static int find_by_shape(struct symbol_space *space, struct search *s, struct error *err)
{
	const struct symbol_module *last = NULL;
	int r = 0;

	for (size_t i = 0; r >= 0 && i < symbol_space_n(space); i++) {
		cleanup(jemalloc_code_clear) struct jemalloc_code code = { 0 };
		struct elf_file *elf = elf_of(space, i, &s->mapping);

		if (!elf || s->mapping->module == last)
			continue;
		last = s->mapping->module;
		r = jemalloc_code_find(elf, &code, err);
		if (r <= 0)
			continue;
		s->n++;
		r = take_code(s->found, &code, s->mapping->bias, err);
	}
	return r < 0 ? r : 0;
}

/* A program that names what it exports only: the rest of its code must be told by proof, too. Where
 * that fails, code without a name stays unsafe, as everywhere (safe_point.h). */
static int find_ranges(struct symbol_space *space, struct search *s, struct error *err)
{
	cleanup(jemalloc_code_clear) struct jemalloc_code code = { 0 };
	const struct symbol_mapping *m = symbol_space_find(space, s->found->mallctl);
	struct elf_file *elf = m && m->module ? symbol_module_elf(m->module) : NULL;
	struct elf_section section;
	struct error ignored;

	if (!elf || elf_file_section(elf, ".symtab", &section) || !elf_file_is_program(elf) ||
	    jemalloc_code_find(elf, &code, &ignored) <= 0 ||
	    code.mallctl + m->bias != s->found->mallctl)
		return 0;
	return take_code(s->found, &code, m->bias, err);
}

int jemalloc_control_find(const struct target *t, struct symbol_space *space,
                          struct jemalloc_control *ret, struct error *err)
{
	cleanup(jemalloc_control_clear) struct jemalloc_control found = {
		.in = ret->in,
		.errno_location = function_find(space, "__errno_location"),
	};
	struct search s = { .found = &found };
	int r = 0;

	for (size_t i = 0; i < symbol_space_n(space); i++) {
		struct elf_file *elf = elf_of(space, i, &s.mapping);

		if (elf)
			elf_file_each_symbol(elf, ELF_NAMED, look_at, &s);
	}
	if (!s.n)
		r = find_by_shape(space, &s, err);
	else if (s.n == 1)
		r = find_ranges(space, &s, err);
	if (r < 0)
		return r;
	if (s.n != 1 || !found.errno_location)
		return refuse(t, &s, err);
	*ret = found;
	found.ranges = NULL;
	return 0;
}

void jemalloc_control_clear(struct jemalloc_control *c)
{
	free(c->ranges);
	*c = (struct jemalloc_control){ 0 };
}

/* ---- calls ---- */

static int failed(const char *name, int number, struct error *err)
{
	if (number == ENOENT)
		return error_set(err, ENOENT, "this jemalloc has no %s", name);
	if (number == EINVAL)
		return error_set(err, EINVAL, "jemalloc does not take that for %s", name);
	return error_sys(err, number, "jemalloc's %s", name);
}

static void note_calls(struct jemalloc_control *c, unsigned n)
{
	const uint64_t ns = inject_stats_of(c->in)->last_total_ns;

	c->n_calls += n;
	c->longest_ns = ns > c->longest_ns ? ns : c->longest_ns;
}

/* mallctl(name, oldp, oldlenp, newp, newlen) */
static int call(struct jemalloc_control *c, const char *name, bool old, size_t new_bytes,
                struct error *err)
{
	const uint64_t at = inject_scratch(c->in);
	const uint64_t args[6] = { at + NAME_AT, old ? at + OLD_AT : 0, old ? at + LEN_AT : 0,
		                   new_bytes ? at + NEW_AT : 0, new_bytes };
	uint64_t result = 0;
	int r;

	if (strlen(name) >= NAME_BYTES)
		return error_set(err, EINVAL, "a name of more than %d bytes", NAME_BYTES);
	r = inject_write(c->in, at + NAME_AT, name, strlen(name) + 1, err);
	if (r == 0)
		r = inject_function(c->in, c->mallctl, c->errno_location, args, &result, err);
	if (r < 0)
		return r;
	note_calls(c, 1);
	return (uint32_t)result ? failed(name, (int)((uint32_t)result & 0xfff), err) : 0;
}

int jemalloc_control_get(struct jemalloc_control *c, const char *name, void *value, size_t n,
                         struct error *err)
{
	const uint64_t at = inject_scratch(c->in), len = n;
	int r = n <= JEMALLOC_CONTROL_TEXT
	                ? inject_write(c->in, at + LEN_AT, &len, sizeof(len), err)
	                : error_set(err, EINVAL, "a value of %zu bytes", n);

	if (r == 0)
		r = call(c, name, true, 0, err);
	return r < 0 ? r : inject_read(c->in, at + OLD_AT, value, n, err);
}

/* In the scratch bytes: all arguments, then what they point to. */
struct cell {
	char name[JEMALLOC_CONTROL_NAME];
	uint64_t len, value;
};

static int get_some(struct jemalloc_control *c, struct jemalloc_control_value *items, size_t n,
                    struct error *err)
{
	const uint64_t rows_at = inject_scratch(c->in),
		       at = rows_at + n * sizeof(struct inject_row);
	struct inject_row rows[JEMALLOC_CONTROL_AT_ONCE] = { 0 };
	struct cell cells[JEMALLOC_CONTROL_AT_ONCE] = { 0 };
	const struct inject_table table = { c->mallctl, c->errno_location, rows_at, rows, n };
	int r;

	for (size_t i = 0; i < n; i++) {
		const uint64_t cell = at + i * sizeof(*cells);

		memcpy(cells[i].name, items[i].name, sizeof(cells[i].name) - 1);
		cells[i].len = items[i].bytes;
		rows[i] = (struct inject_row){ { cell, cell + offsetof(struct cell, value),
			                         cell + offsetof(struct cell, len) },
			                       0 };
	}
	r = inject_write(c->in, at, cells, n * sizeof(*cells), err);
	if (r == 0)
		r = inject_functions(c->in, &table, err);
	if (r == 0)
		r = inject_read(c->in, at, cells, n * sizeof(*cells), err);
	if (r < 0)
		return r;
	note_calls(c, (unsigned)n);
	for (size_t i = 0; i < n; i++) {
		items[i].error = (int)((uint32_t)rows[i].result & 0xfff);
		items[i].value = items[i].error ? 0 : cells[i].value;
	}
	return 0;
}

int jemalloc_control_get_all(struct jemalloc_control *c, struct jemalloc_control_value *items,
                             size_t n, struct error *err)
{
	int r = 0;

	for (size_t i = 0, some; r == 0 && i < n; i += some) {
		some = n - i < JEMALLOC_CONTROL_AT_ONCE ? n - i : JEMALLOC_CONTROL_AT_ONCE;
		r = get_some(c, items + i, some, err);
	}
	return r;
}

int jemalloc_control_set(struct jemalloc_control *c, const char *name, const void *value, size_t n,
                         struct error *err)
{
	int r = n <= JEMALLOC_CONTROL_TEXT ? 0 : error_set(err, EINVAL, "a value of %zu bytes", n);

	if (r == 0 && n)
		r = inject_write(c->in, inject_scratch(c->in) + NEW_AT, value, n, err);
	return r < 0 ? r : call(c, name, false, n, err);
}

int jemalloc_control_text(struct jemalloc_control *c, const char *name,
                          char ret[JEMALLOC_CONTROL_TEXT], struct error *err)
{
	char text[JEMALLOC_CONTROL_TEXT] = "";
	uint64_t at = 0;
	int r = jemalloc_control_get(c, name, &at, sizeof(at), err);

	/* it may lie right before what is not mapped */
	for (size_t i = 0; r == 0 && at && i + 1 < sizeof(text); i++) {
		r = inject_read(c->in, at + i, &text[i], 1, err);
		if (!text[i])
			break;
	}
	text[sizeof(text) - 1] = '\0';
	if (r == 0)
		memcpy(ret, text, sizeof(text));
	return r;
}

int jemalloc_control_set_text(struct jemalloc_control *c, const char *name, const char *value,
                              struct error *err)
{
	const uint64_t at = inject_scratch(c->in) + TEXT_AT;
	int r = inject_write(c->in, at, value, strlen(value) + 1, err);

	return r < 0 ? r : jemalloc_control_set(c, name, &at, sizeof(at), err);
}

/* ---- is it mallctl? ---- */

static int is_value(struct jemalloc_control *c, const char *name, uint64_t wanted,
                    struct error *err)
{
	uint64_t value = 0;
	int r = jemalloc_control_get(c, name, &value, sizeof(value), err);

	if (r < 0)
		return r;
	return value == wanted
	               ? 0
	               : error_set(err, EPROTO, "what was taken for mallctl says %s is %llu", name,
	                           (unsigned long long)value);
}

int jemalloc_control_prove(struct jemalloc_control *c, struct error *err)
{
	char version[JEMALLOC_CONTROL_TEXT] = "";
	uint64_t unused;
	int r = jemalloc_control_text(c, "version", version, err);

	if (r == 0 && (version[0] < '1' || version[0] > '9' || version[1] != '.'))
		r = error_set(err, EPROTO, "what was taken for mallctl knows no version");
	if (r == 0)
		r = is_value(c, "arenas.page", 4096, err);
	if (r == 0)
		r = is_value(c, "arenas.quantum", 16, err);
	if (r == 0 && jemalloc_control_get(c, "memwho", &unused, sizeof(unused), err) != -ENOENT)
		r = error_set(err, EPROTO, "what was taken for mallctl knows every name");
	return r;
}
