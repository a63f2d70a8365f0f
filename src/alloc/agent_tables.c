/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/agent_tables.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/search.h"
#include "bpf/stack_format.h"

enum { HEADROOM = 1 << 18 /* rows, index: for modules that come later */ };

void agent_tables_clear(struct agent_tables *t)
{
	modules_clear(&t->modules);
	free(t->staging.rows.data);
	free(t->staging.index.data);
	free(t->spans);
	free(t->snapshots);
	*t = (struct agent_tables){ 0 };
}

size_t agent_tables_room_rows(const struct agent_tables *t)
{
	return t->staging.rows.n;
}

size_t agent_tables_room_index(const struct agent_tables *t)
{
	return t->staging.index.n;
}

static int make_array(struct bpf_tables_array *a, size_t n, size_t item, struct error *err)
{
	a->data = calloc(n, item);
	a->n = n;
	a->bytes = n * item;
	return a->data ? 0 : error_oom(err);
}

/* The mappings' code, sorted, as the agent has it. */
static int list_spans(const struct agent_tables *t, struct agent_exact_span **ret, size_t *ret_n,
                      struct error *err)
{
	cleanup_free struct stack_span *from = NULL;
	cleanup_free struct agent_exact_span *to = NULL;
	size_t n = 0;
	int r = modules_spans(&t->modules, t->tracee->space, &from, &n, err);

	if (r < 0)
		return r;
	if (n > AGENT_EXACT_MAX_SPANS)
		return error_set(err, ENOSPC, "%zu executable mappings are too many", n);
	to = calloc(n + 1, sizeof(*to));
	if (!to)
		return error_oom(err);
	for (size_t i = 0; i < n; i++)
		to[i] = (struct agent_exact_span){ .start = from[i].start,
			                           .end = from[i].end,
			                           .text = from[i].bias + from[i].text_base,
			                           .first_row = from[i].first_row,
			                           .n_rows = from[i].n_rows,
			                           .first_index = from[i].first_index,
			                           .n_index = from[i].n_index };
	*ret = take_ptr(to);
	*ret_n = n;
	return 0;
}

static int read_modules(struct agent_tables *t, struct error *err)
{
	int r = modules_add_space(&t->modules, t->tracee->space, err);

	return r < 0 ? r : modules_load(&t->modules, &t->staging, err);
}

int agent_tables_make(struct agent_tables *t, struct tracee *tracee, struct error *err)
{
	size_t rows, index;
	int r;

	t->tracee = tracee;
	t->generation = 1;
	r = modules_add_space(&t->modules, tracee->space, err);
	modules_sizes(&t->modules, &rows, &index);
	if (r == 0)
		r = make_array(&t->staging.rows, rows + HEADROOM, sizeof(struct unwind_row), err);
	if (r == 0)
		r = make_array(&t->staging.index, index + HEADROOM, sizeof(u64), err);
	if (r == 0)
		r = read_modules(t, err);
	return r < 0 ? r : list_spans(t, &t->spans, &t->n_spans, err);
}

/* ---- into the target ---- */

static int write_new(struct inject *in, u64 at, const struct bpf_tables_array *a, size_t item,
                     size_t *written, struct error *err)
{
	const size_t n = a->used - *written;
	int r = n ? inject_write(in, at + *written * item, (const char *)a->data + *written * item,
	                         n * item, err)
	          : 0;

	if (r == 0)
		*written = a->used;
	return r;
}

static int publish(const struct agent_tables *t, struct inject *in, u64 x, struct error *err)
{
	const u64 word = agent_exact_published(t->generation, t->half, (u32)t->n_spans, t->epoch);

	return inject_write(in, x + offsetof(struct agent_exact, published), &word, sizeof(word),
	                    err);
}

int agent_tables_write(struct agent_tables *t, struct inject *in, u64 x,
                       const struct agent_exact *head, struct error *err)
{
	const u64 list = x + head->spans +
	                 t->half * AGENT_EXACT_MAX_SPANS * sizeof(struct agent_exact_span);
	int r = write_new(in, x + head->rows, &t->staging.rows, sizeof(struct unwind_row),
	                  &t->rows_written, err);

	if (r == 0)
		r = write_new(in, x + head->index, &t->staging.index, sizeof(u64),
		              &t->index_written, err);
	if (r == 0 && t->n_spans)
		r = inject_write(in, list, t->spans, t->n_spans * sizeof(*t->spans), err);
	return r < 0 ? r : publish(t, in, x, err);
}

int agent_tables_settle(struct agent_tables *t, struct inject *in, u64 x,
                        const struct agent_exact *head, struct error *err)
{
	const size_t n = sizeof(u64) << AGENT_EXACT_RULE_BITS;
	cleanup_free void *zeros = calloc(1, n);
	int r;

	if (!zeros)
		return error_oom(err);
	r = inject_write(in, x + head->rules, zeros, n, err);
	if (r < 0)
		return r;
	t->generation = 1;
	t->is_mixed = false;
	return publish(t, in, x, err);
}

/* ---- changes ---- */

static bool is_in(const struct agent_exact_span *s, const struct agent_exact_span *spans, size_t n)
{
	const size_t i = partition_point(n, k, spans[k].start < s->start);

	return i < n && !memcmp(s, &spans[i], sizeof(*s));
}

/* Something that was there is there no more, or is another. */
static bool has_gone(const struct agent_tables *t, const struct agent_exact_span *now, size_t n)
{
	for (size_t i = 0; i < t->n_spans; i++) {
		if (!is_in(&t->spans[i], now, n))
			return true;
	}
	return false;
}

static int end_epoch(struct agent_tables *t, u32 snapshot, struct error *err)
{
	int r = array_reserve(&t->snapshots, &t->cap_snapshots, t->epoch + 1, err);

	if (r == 0)
		t->snapshots[t->epoch++] = snapshot;
	return r;
}

int agent_tables_refresh(struct agent_tables *t, struct error *err)
{
	const u32 before = symbol_space_snapshot(t->tracee->space);
	cleanup_free struct agent_exact_span *now = NULL;
	size_t n = 0;
	int r = symbol_space_refresh(t->tracee->space, t->tracee->target, err);

	if (r >= 0)
		r = read_modules(t, err);
	if (r >= 0)
		r = list_spans(t, &now, &n, err);
	if (r < 0 || (n == t->n_spans && !memcmp(now, t->spans, n * sizeof(*now))))
		return r;
	if (has_gone(t, now, n))
		r = end_epoch(t, before, err);
	if (r < 0)
		return r;
	free(t->spans);
	t->spans = take_ptr(now);
	t->n_spans = n;
	t->half ^= 1;
	/* all numbers were given: none until no walk of the older ones can be under way */
	t->is_mixed |= t->generation + 1 == AGENT_EXACT_GENERATIONS;
	t->generation = t->is_mixed ? 0 : t->generation + 1;
	return 1;
}

/* ---- what was recorded ---- */

u64 agent_tables_pc(const struct agent_tables *t, u64 pc, u32 epoch)
{
	const u64 exact = pc & AGENT_EXACT_PC_EXACT, address = pc & STACK_PC_ADDRESS;
	const u64 at = exact || !address ? address : address - 1;
	const struct symbol_mapping *m = epoch < t->epoch
	                                         ? symbol_space_find_in(t->tracee->space, at,
	                                                                t->snapshots[epoch])
	                                         : symbol_space_find(t->tracee->space, at);
	const u64 first = m && m->first <= STACK_PC_MASK ? m->first : 0;

	return address | exact | first << STACK_PC_SHIFT;
}
