/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/jemalloc/jemalloc_control.h"

#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "runtime/function.h"
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
	error_set(err, ENOTSUP,
	          "process %d (%s) has no function mallctl: no jemalloc, or a stripped one",
	          (int)t->pid, t->comm);
	return error_hint(err, "memwho %d shows its allocators; memwho alloc %d who holds what",
	                  (int)t->pid, (int)t->pid);
}

int jemalloc_control_find(const struct target *t, struct symbol_space *space,
                          struct jemalloc_control *ret, struct error *err)
{
	struct jemalloc_control found = {
		.in = ret->in,
		.errno_location = function_find(space, "__errno_location"),
	};
	struct search s = { .found = &found };

	for (size_t i = 0; i < symbol_space_n(space); i++) {
		struct elf_file *elf;

		s.mapping = symbol_space_at(space, i);
		elf = s.mapping->module && !s.mapping->gone ? symbol_module_elf(s.mapping->module)
		                                            : NULL;
		if (elf)
			elf_file_each_symbol(elf, ELF_ALL, look_at, &s);
	}
	if (s.n != 1 || !found.errno_location)
		return refuse(t, &s, err);
	*ret = found;
	return 0;
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

/* mallctl(name, oldp, oldlenp, newp, newlen) */
static int call(struct jemalloc_control *c, const char *name, bool old, size_t new_bytes,
                struct error *err)
{
	const uint64_t at = inject_scratch(c->in);
	const uint64_t args[6] = { at + NAME_AT, old ? at + OLD_AT : 0, old ? at + LEN_AT : 0,
		                   new_bytes ? at + NEW_AT : 0, new_bytes };
	uint64_t result = 0, ns;
	int r;

	if (strlen(name) >= NAME_BYTES)
		return error_set(err, EINVAL, "a name of more than %d bytes", NAME_BYTES);
	r = inject_write(c->in, at + NAME_AT, name, strlen(name) + 1, err);
	if (r == 0)
		r = inject_function(c->in, c->mallctl, c->errno_location, args, &result, err);
	if (r < 0)
		return r;
	ns = inject_stats_of(c->in)->last_total_ns;
	c->n_calls++;
	c->longest_ns = ns > c->longest_ns ? ns : c->longest_ns;
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
