/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/postgres/pg_server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"

enum {
	LOOKS = 12, /* a busy server tears a few in a row when it is preempted in an update */
	FIRST_PAUSE_US = 300,
	MAX_PAUSE_US = 40000,
};

void pg_server_clear(struct pg_server *s)
{
	pg_memory_clear(&s->memory);
	*s = (struct pg_server){ 0 };
}

struct symbol_module *pg_server_module(const struct runtime_view *v, uint64_t *bias)
{
	for (size_t i = 0; i < symbol_space_n(v->space); i++) {
		const struct symbol_mapping *m = symbol_space_at(v->space, i);
		struct elf_file *elf;

		/* the program itself: asking every library for its symbols would be dear */
		if (m->gone || !m->module || strcmp(symbol_module_path(m->module), v->target->exe))
			continue;
		elf = symbol_module_elf(m->module);
		if (!elf || !pg_methods_detect(elf))
			continue;
		*bias = m->bias;
		return m->module;
	}
	return NULL;
}

int pg_server_open(const struct runtime_view *v, struct pg_server *ret, struct error *err)
{
	struct pg_server s = { .target = v->target };
	int r;

	s.module = pg_server_module(v, &s.bias);
	if (!s.module)
		return error_set(err, ENOTSUP, "process %d is not a PostgreSQL server",
		                 (int)v->target->pid);
	s.elf = symbol_module_elf(s.module);
	r = pg_methods_find(s.elf, &s.methods, err);
	if (r < 0)
		return r;
	*ret = s;
	return 0;
}

static int look_once(struct pg_server *s, struct pg_tree *tree, struct pg_check *check,
                     uint64_t max_chunks, struct error *err)
{
	struct elf_symbol top;
	int r = pg_memory_copy(s->target, &s->memory, err);

	if (r < 0)
		return r;
	if (elf_file_symbol(s->elf, ELF_DYNSYM, "TopMemoryContext", &top) < 0)
		return error_set(err, ENOTSUP, "no TopMemoryContext");
	r = pg_layout_find(&s->memory, &s->methods, s->bias,
	                   pg_memory_word(&s->memory, top.value + s->bias), &s->layout, err);
	if (r == 0)
		r = pg_tree_read(&s->memory, &s->layout, tree, err);
	if (r == 0 && check)
		r = pg_check_chunks(&s->memory, &s->layout, tree, max_chunks, check, err);
	return r;
}

/* Nanoseconds that the process's first thread has run for; 0: not known. */
static uint64_t run_time_ns(const struct target *t)
{
	cleanup_free char *text = NULL;
	struct error unused;

	if (target_proc_file(t, "schedstat", 4096, &text, NULL, &unused) < 0)
		return 0;
	return strtoull(text, NULL, 10);
}

/* One that waits for a processor in the middle of an update changes nothing either. */
static bool is_runnable(const struct target *t)
{
	cleanup_free char *text = NULL;
	struct error unused;
	const char *state;

	if (target_proc_file(t, "stat", 4096, &text, NULL, &unused) < 0)
		return false;
	state = strrchr(text, ')'); /* the name before may hold anything */
	return state && strncmp(state, ") R", 3) == 0;
}

/* A server that did not run between the looks and gave the same answer at each is no tear: the
 * layout is another one. (The same answer alone proves nothing: a loop tears at the same place.) */
static int give_up(const struct pg_server *s, bool same, struct error *err)
{
	char version[32];

	pg_methods_version(s->elf, version, sizeof(version));
	if (same)
		err->code = -ENOTSUP;
	error_context(err, "PostgreSQL %s, process %d: its memory contexts %s", version,
	              (int)s->target->pid,
	              same ? "are not laid out in a way known here" : "changed during every look");
	if (!same)
		error_hint(err, "the process is busy with its memory; try again");
	return err->code;
}

int pg_server_look(struct pg_server *s, struct pg_tree *tree, struct pg_check *check,
                   uint64_t max_chunks, struct error *err)
{
	const uint64_t ran_ns = run_time_ns(s->target);
	struct error last, first;
	bool same = true;
	long pause_us = FIRST_PAUSE_US;

	for (int i = 0; i < LOOKS; i++) {
		struct timespec pause = { 0, pause_us * 1000 };
		int r = look_once(s, tree, check, max_chunks, &last);

		if (r != -EAGAIN) {
			if (r < 0)
				*err = last;
			return r;
		}
		if (i == 0)
			first = last;
		same = same && strcmp(first.message, last.message) == 0;
		nanosleep(&pause, NULL);
		pause_us = 2 * pause_us < MAX_PAUSE_US ? 2 * pause_us : MAX_PAUSE_US;
	}
	*err = last;
	return give_up(s, same && run_time_ns(s->target) == ran_ns && !is_runnable(s->target), err);
}
