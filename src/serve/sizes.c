/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/sizes.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/array.h"
#include "base/clock.h"
#include "base/hash.h"

enum { EVERY_S = 60, LEAST_S = 5, MAX_ENTRIES = 2048 };

struct entry {
	char name[CONFIG_NAME_BYTES];
	struct worker_process first; /* of its processes: others have other figures */
	char kinds[METRICS_PAGE_MAX_KINDS][sizeof(((struct worker_row *)0)->kind)];
	struct metrics_page_rows rows; /* its kinds are those above */
};

struct sizes {
	struct entry **entries; /* apart from each other: rows point into them */
	size_t n, cap;
	struct hash_map by_name; /* hash of the name -> index */
	struct jobs_waiter waiter;
	char asked[CONFIG_NAME_BYTES];
	struct worker_process first;
	size_t next;
	uint64_t last_ns;
};

int sizes_new(struct sizes **ret, struct error *err)
{
	*ret = calloc(1, sizeof(**ret));
	return *ret ? 0 : error_oom(err);
}

struct sizes *sizes_free(struct sizes *s, struct jobs *j)
{
	if (!s)
		return NULL;
	if (j)
		jobs_leave(j, &s->waiter);
	for (size_t i = 0; i < s->n; i++)
		free(s->entries[i]);
	free(s->entries);
	hash_map_clear(&s->by_name);
	free(s);
	return NULL;
}

static uint64_t hash(const char *name)
{
	return hash_bytes(name, strlen(name), 0);
}

static struct entry *find(const struct sizes *s, const char *name)
{
	const uint64_t *index;
	size_t at = 0;

	while ((index = hash_map_next(&s->by_name, hash(name), &at))) {
		if (!strcmp(s->entries[*index]->name, name))
			return s->entries[*index];
	}
	return NULL;
}

static struct entry *find_or_add(struct sizes *s, const char *name)
{
	struct entry *e = find(s, name);
	struct error ignored;

	if (e || s->n >= MAX_ENTRIES || array_reserve(&s->entries, &s->cap, s->n + 1, &ignored) < 0)
		return e;
	e = calloc(1, sizeof(*e));
	if (!e || hash_map_add(&s->by_name, hash(name), s->n, &ignored) < 0) {
		free(e);
		return NULL;
	}
	snprintf(e->name, sizeof(e->name), "%s", name);
	s->entries[s->n++] = e;
	return e;
}

static void add_known(int64_t *to, int64_t bytes)
{
	if (bytes >= 0)
		*to = (*to < 0 ? 0 : *to) + bytes;
}

/* Of several processes: the rows of one kind are one. */
static void add_row(struct entry *e, const struct worker_row *row)
{
	struct metrics_page_row *to = NULL;

	for (size_t i = 0; i < e->rows.n && !to; i++) {
		if (!strcmp(e->kinds[i], row->kind))
			to = &e->rows.row[i];
	}
	if (!to && e->rows.n == METRICS_PAGE_MAX_KINDS)
		return;
	if (!to) {
		memcpy(e->kinds[e->rows.n], row->kind, sizeof(row->kind));
		to = &e->rows.row[e->rows.n];
		*to = (struct metrics_page_row){ .kind = e->kinds[e->rows.n++],
			                         .in_use_bytes = -1,
			                         .cached_bytes = -1 };
	}
	to->virtual_bytes += row->virtual_bytes;
	to->resident_bytes += row->resident_bytes;
	to->swap_bytes += row->swap_bytes;
	add_known(&to->in_use_bytes, row->in_use_bytes);
	add_known(&to->cached_bytes, row->cached_bytes);
}

static void on_done(struct jobs_waiter *w, const struct jobs_result *r)
{
	struct sizes *s = (struct sizes *)((char *)w - offsetof(struct sizes, waiter));
	struct entry *e = r->err.code ? NULL : find_or_add(s, s->asked);
	struct worker_row row;
	off_t at = 0;

	if (!e)
		return;
	e->first = s->first;
	e->rows.n = 0;
	while (pread(r->fd, &row, sizeof(row), at) == (ssize_t)sizeof(row)) {
		row.kind[sizeof(row.kind) - 1] = '\0';
		add_row(e, &row);
		at += sizeof(row);
	}
}

static void ask(struct sizes *s, struct jobs *j, const struct watched_item *item)
{
	struct jobs_running running;
	struct error ignored;
	struct jobs_key key;

	memset(&key, 0, sizeof(key));
	memcpy(key.target, item->name, sizeof(key.target));
	memcpy(s->asked, item->name, sizeof(s->asked));
	key.kind = WORKER_ROWS;
	key.n_processes = item->n_processes;
	memcpy(key.processes, item->processes, sizeof(key.processes));
	s->first = item->processes[0];
	s->waiter.done = on_done;
	jobs_ask(j, &key, &s->waiter, &running, &ignored);
}

void sizes_run(struct sizes *s, struct jobs *j, struct watched *w)
{
	size_t n = watched_n(w);
	uint64_t every = n ? EVERY_S * 1000000000ull / n : 0, now = clock_now_ns();

	if (every < LEAST_S * 1000000000ull)
		every = LEAST_S * 1000000000ull;
	/* the first round goes faster, as long as there are few */
	if (s->next < n && s->next < EVERY_S / LEAST_S && !find(s, watched_at(w, s->next)->name))
		every = 0;
	if (!n || s->waiter.job || now - s->last_ns < every)
		return;
	s->last_ns = now;
	for (size_t i = 0; i < n; i++) {
		const struct watched_item *item;

		if (s->next >= n)
			s->next = 0;
		item = watched_at(w, s->next++);
		if (item->n_processes) {
			ask(s, j, item);
			return;
		}
	}
}

const struct metrics_page_rows *sizes_of(const struct sizes *s, const struct watched_item *item)
{
	const struct entry *e = item->n_processes ? find(s, item->name) : NULL;

	return e && e->first.pid == item->processes[0].pid &&
	                       e->first.start_ticks == item->processes[0].start_ticks
	               ? &e->rows
	               : NULL;
}
