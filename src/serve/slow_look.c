/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/slow_look.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"

enum { PARTS = 40, COST = 20, STACK_PART = 16, MAX_STACKS = 65536 };

static const uint64_t LEAST_NS = 2000000000, MOST_NS = 30000000000, LEVEL_NS = 10000000000;

bool slow_look_is_for(const struct trigger_rule *r)
{
	return r->kind == TRIGGER_HELD || r->source == TRIGGER_ALLOCATED;
}

void slow_look_init(struct slow_look *l, const struct trigger_rule *r)
{
	uint64_t every = r->window_ns ? r->window_ns / PARTS : LEVEL_NS;

	*l = (struct slow_look){ .kind = r->kind == TRIGGER_HELD ? WORKER_STACKS : WORKER_ROWS,
		                 .least_bytes = (int64_t)(r->bytes / STACK_PART),
		                 .allocated_bytes = -1 };
	l->every_ns = every < LEAST_NS ? LEAST_NS : every > MOST_NS ? MOST_NS : every;
}

void slow_look_forget(struct slow_look *l, struct jobs *j)
{
	jobs_leave(j, &l->waiter);
	free(l->stacks);
	l->stacks = NULL;
	l->n_stacks = 0;
	l->allocated_bytes = -1;
	l->next_ns = 0;
	l->is_new = l->has_failed = false;
}

void slow_look_clear(struct slow_look *l, struct jobs *j)
{
	slow_look_forget(l, j);
}

/* Of all its allocators; what threads have cached was given back. */
static void take_rows(struct slow_look *l, int fd)
{
	struct worker_row row;
	int64_t sum = -1;

	for (off_t at = 0; pread(fd, &row, sizeof(row), at) == (ssize_t)sizeof(row);
	     at += sizeof(row)) {
		if (row.in_use_bytes < 0 || row.is_inside)
			continue;
		sum = (sum < 0 ? 0 : sum) + row.in_use_bytes;
		if (row.cached_bytes > 0)
			sum -= row.cached_bytes;
	}
	l->allocated_bytes = sum;
	l->is_new = sum >= 0;
}

static void take_stacks(struct slow_look *l, int fd, uint64_t bytes)
{
	size_t n = bytes / sizeof(*l->stacks);
	cleanup_free struct trigger_stack *stacks = NULL;

	if (n > MAX_STACKS)
		n = MAX_STACKS;
	stacks = calloc(n + 1, sizeof(*stacks));
	if (!stacks || pread(fd, stacks, n * sizeof(*stacks), 0) != (ssize_t)(n * sizeof(*stacks)))
		return;
	free(l->stacks);
	l->stacks = take_ptr(stacks);
	l->n_stacks = n;
	l->is_new = true;
}

static void on_done(struct jobs_waiter *w, const struct jobs_result *r)
{
	struct slow_look *l = (struct slow_look *)((char *)w - offsetof(struct slow_look, waiter));
	uint64_t now = clock_now_ns(), cost = COST * (now - l->begun_ns);

	l->next_ns = now + (cost > l->every_ns ? cost : l->every_ns);
	if (r->err.code) {
		if (!l->has_failed && !r->cancelled)
			log_note(LOG_WARN, "a look for a trigger failed: %s", r->err.message);
		l->has_failed = true;
		return;
	}
	l->has_failed = false;
	if (l->kind == WORKER_STACKS)
		take_stacks(l, r->fd, r->bytes);
	else
		take_rows(l, r->fd);
}

static void begin(struct slow_look *l, struct jobs *j, const struct watched_item *item,
                  uint64_t now_ns)
{
	struct jobs_running running;
	struct error ignored;
	struct jobs_key key;

	memset(&key, 0, sizeof(key));
	memcpy(key.target, item->name, sizeof(key.target));
	key.kind = l->kind;
	key.least_bytes = l->least_bytes;
	key.n_processes = item->n_processes;
	memcpy(key.processes, item->processes, sizeof(key.processes));
	l->waiter.done = on_done;
	l->begun_ns = now_ns;
	/* all hands are busy, or the recording has not begun: later */
	if (jobs_ask(j, &key, &l->waiter, &running, &ignored) != JOBS_WAIT)
		l->next_ns = now_ns + LEAST_NS / 2;
}

bool slow_look_run(struct slow_look *l, struct jobs *j, const struct watched_item *item,
                   uint64_t now_ns)
{
	bool is_new = l->is_new;

	l->is_new = false;
	if (!l->waiter.job && now_ns >= l->next_ns)
		begin(l, j, item, now_ns);
	return is_new;
}
