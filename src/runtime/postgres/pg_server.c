/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/postgres/pg_server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "target/freeze.h"

enum {
	LOOKS = 12, /* a busy server tears a few in a row when it is preempted in an update */
	LOOKS_BEFORE_STOP = 2,
	STOP_TIMEOUT_MS = 500,
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

static int read_all(struct pg_server *s, struct pg_tree *tree, struct pg_check *check,
                    uint64_t max_chunks, struct error *err)
{
	struct elf_symbol top;
	int r;

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

static int look_once(struct pg_server *s, struct pg_tree *tree, struct pg_check *check,
                     uint64_t max_chunks, struct error *err)
{
	int r = pg_memory_copy(s->target, &s->memory, err);

	return r < 0 ? r : read_all(s, tree, check, max_chunks, err);
}

struct look {
	struct pg_server *s;
	struct pg_tree *tree;
	struct pg_check *check;
	uint64_t max_chunks;
	bool is_stopped;
};

/* While it stands still: the copy, and the walk as well only if that reads the process. */
static int copy_or_walk(void *arg, struct error *err)
{
	struct look *l = arg;
	struct pg_memory *m = &l->s->memory;
	int r = pg_memory_copy_stopped(l->s->target, m, err);

	l->is_stopped = true;
	if (r == 0 && m->on_demand)
		r = read_all(l->s, l->tree, l->check, l->max_chunks, err);
	return r;
}

/* It can still be torn: the server may have been stopped in the middle of an update. */
static int look_stopped(struct pg_server *s, struct pg_tree *tree, struct pg_check *check,
                        uint64_t max_chunks, struct error *err)
{
	struct look l = { s, tree, check, max_chunks };
	uint64_t ns = 0;
	bool walked;
	const struct freeze_work work = { .work = copy_or_walk, .arg = &l };
	int r = freeze_call(s->target, STOP_TIMEOUT_MS, &work, &ns, err);

	if (!l.is_stopped) {
		log_note(LOG_DEBUG, "not stopped: %s", err->message);
		s->stop = PG_STOP_NEVER;
		return look_once(s, tree, check, max_chunks, err);
	}
	s->n_stops++;
	s->stopped_ns += ns;
	s->longest_stop_ns = ns > s->longest_stop_ns ? ns : s->longest_stop_ns;
	walked = s->memory.on_demand;
	s->memory.on_demand = false; /* from now on it changes */
	return r < 0 || walked ? r : read_all(s, tree, check, max_chunks, err);
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

/* One that waits for a processor, or was stopped, in the middle of an update changes nothing
 * either. */
static bool is_in_the_middle(const struct target *t)
{
	cleanup_free char *text = NULL;
	struct error unused;
	const char *state;

	if (target_proc_file(t, "stat", 4096, &text, NULL, &unused) < 0)
		return false;
	state = strrchr(text, ')'); /* the name before may hold anything */
	return state && state[1] && strchr("RTtD", state[2]);
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

/* One that did not run since @ran_ns gains nothing from being stopped. */
static bool is_to_stop(const struct pg_server *s, int n_looks, uint64_t ran_ns)
{
	if (s->stop != PG_STOP_WHEN_TORN)
		return s->stop == PG_STOP_ALWAYS;
	return n_looks >= LOOKS_BEFORE_STOP &&
	       (run_time_ns(s->target) != ran_ns || is_in_the_middle(s->target));
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
		int r = is_to_stop(s, i, ran_ns) ? look_stopped(s, tree, check, max_chunks, &last)
		                                 : look_once(s, tree, check, max_chunks, &last);

		s->n_looks++;
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
	return give_up(s, same && run_time_ns(s->target) == ran_ns && !is_in_the_middle(s->target),
	               err);
}
