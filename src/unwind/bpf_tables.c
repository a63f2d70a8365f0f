/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "unwind/bpf_tables.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "bpf/libbpf_old.h"

enum {
	MAX_SPANS = 1 << 16,        /* of all processes, in each of two halves */
	MAX_SPANS_OF_ONE = 1 << 12, /* what the program's search can step through */
};

/* ---- arrays ---- */

int bpf_tables_map(struct bpf_map *map, struct bpf_tables_array *ret, struct error *err)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), n = bpf_map__max_entries(map);
	size_t bytes = n * ((bpf_map__value_size(map) + 7) & ~7UL);
	void *data;

	bytes = (bytes + page - 1) & ~(page - 1);
	data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);
	if (data == MAP_FAILED)
		return error_sys(err, errno, "cannot map the BPF table %s", bpf_map__name(map));
	*ret = (struct bpf_tables_array){ .data = data, .bytes = bytes, .n = n };
	return 0;
}

void bpf_tables_unmap(struct bpf_tables_array *a)
{
	if (a->data)
		munmap(a->data, a->bytes);
	*a = (struct bpf_tables_array){ 0 };
}

/* ---- lists ---- */

int bpf_tables_open_lists(struct bpf_map *map, size_t item_bytes, u32 *first_place,
                          size_t place_stride, struct bpf_tables_lists *ret, struct error *err)
{
	ret->half_n = bpf_map__max_entries(map) / 2;
	ret->item_bytes = item_bytes;
	ret->places = (char *)first_place;
	ret->place_stride = place_stride;
	return bpf_tables_map(map, &ret->array, err);
}

void bpf_tables_close_lists(struct bpf_tables_lists *l)
{
	bpf_tables_unmap(&l->array);
	for (u32 i = 0; i < STACK_MAX_PROCESSES; i++)
		bpf_tables_drop_list(l, i);
}

/* Write a list into the current half and point the slot at it in one store
 * (position and length are one aligned word). */
static void publish(struct bpf_tables_lists *l, u32 slot)
{
	struct bpf_tables_array *a = &l->array;
	const struct bpf_tables_list *list = &l->slots[slot];
	size_t at = l->half * l->half_n + a->used;

	if (list->n)
		memcpy((char *)a->data + at * l->item_bytes, list->items, list->n * l->item_bytes);
	a->used += list->n;
	__atomic_store_n((u64 *)(void *)(l->places + slot * l->place_stride),
	                 at | (u64)list->n << 32, __ATOMIC_RELEASE);
}

/* Turn to the other half when this one is full; lists in use stay valid while
 * they are written anew. */
static int make_room(struct bpf_tables_lists *l, size_t need, struct error *err)
{
	size_t total = need;

	if (need <= l->half_n - l->array.used)
		return 0;
	for (u32 i = 0; i < STACK_MAX_PROCESSES; i++)
		total += l->slots[i].n;
	if (total > l->half_n)
		return error_set(err, ENOSPC, "too many mappings in the traced processes");
	l->half ^= 1;
	l->array.used = 0;
	for (u32 i = 0; i < STACK_MAX_PROCESSES; i++) {
		if (l->slots[i].n)
			publish(l, i);
	}
	return 0;
}

int bpf_tables_set_list(struct bpf_tables_lists *l, u32 slot, const void *items, size_t n,
                        struct error *err)
{
	void *copy;
	int r = make_room(l, n, err);

	if (r < 0)
		return r;
	copy = malloc(n * l->item_bytes + 1);
	if (!copy)
		return error_oom(err);
	if (n)
		memcpy(copy, items, n * l->item_bytes);
	free(l->slots[slot].items);
	l->slots[slot] = (struct bpf_tables_list){ copy, n };
	publish(l, slot);
	return 0;
}

void bpf_tables_drop_list(struct bpf_tables_lists *l, u32 slot)
{
	free(l->slots[slot].items);
	l->slots[slot] = (struct bpf_tables_list){ 0 };
}

/* ---- all of them ---- */

static int set_size(struct bpf_object *object, const char *name, size_t n)
{
	struct bpf_map *map = bpf_object__find_map_by_name(object, name);

	return map ? bpf_map__set_max_entries(map, n) : -ENOENT;
}

int bpf_tables_set_sizes(struct bpf_object *object, const struct bpf_tables_sizes *s,
                         struct error *err)
{
	if (set_size(object, "rows", s->rows) || set_size(object, "row_index", s->index) ||
	    set_size(object, "spans", 2 * (size_t)MAX_SPANS) ||
	    set_size(object, "stacks", s->stacks) || set_size(object, "stack_ids", s->stacks) ||
	    set_size(object, "pcs", s->pcs))
		return error_set(err, EINVAL, "cannot size the BPF tables");
	return 0;
}

int bpf_tables_open(struct bpf_object *object, struct stack_process *processes,
                    const u32 *used_stacks, struct bpf_tables *ret, struct error *err)
{
	struct {
		const char *name;
		struct bpf_tables_array *array;
	} all[] = { { "rows", &ret->rows },
		    { "row_index", &ret->index },
		    { "stacks", &ret->stacks },
		    { "pcs", &ret->pcs } };

	ret->used_stacks = used_stacks;
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		int r = bpf_tables_map(bpf_object__find_map_by_name(object, all[i].name),
		                       all[i].array, err);

		if (r < 0)
			return r;
	}
	return bpf_tables_open_lists(bpf_object__find_map_by_name(object, "spans"),
	                             sizeof(struct stack_span), &processes[0].first_span,
	                             sizeof(*processes), &ret->spans, err);
}

void bpf_tables_close(struct bpf_tables *t)
{
	bpf_tables_unmap(&t->rows);
	bpf_tables_unmap(&t->index);
	bpf_tables_unmap(&t->stacks);
	bpf_tables_unmap(&t->pcs);
	bpf_tables_close_lists(&t->spans);
}

int bpf_tables_add(struct bpf_tables *t, const struct unwind_table *table,
                   struct bpf_tables_module *ret, struct error *err)
{
	struct unwind_row *rows = t->rows.data;
	u64 *index = t->index.data;

	if (table->n_rows > t->rows.n - t->rows.used || table->n_index > t->index.n - t->index.used)
		return error_set(err, ENOSPC, "no room for %zu more unwind rows", table->n_rows);
	memcpy(rows + t->rows.used, table->rows, table->n_rows * sizeof(*rows));
	for (size_t i = 0; i < table->n_index; i++) {
		u32 next = i + 1 < table->n_index ? table->index[i + 1] : (u32)table->n_rows - 1;

		/* low: where the search begins; high: how many rows follow in the slot */
		index[t->index.used + i] =
			table->index[i] | (u64)(next > table->index[i] ? next - table->index[i] : 0)
						  << 32;
	}
	*ret = (struct bpf_tables_module){
		.first_row = t->rows.used,
		.n_rows = table->n_rows,
		.first_index = t->index.used,
		.n_index = table->n_index,
		.text_base = table->text_base,
	};
	t->rows.used += table->n_rows;
	t->index.used += table->n_index;
	return 0;
}

int bpf_tables_set_spans(struct bpf_tables *t, u32 slot, const struct stack_span *spans, size_t n,
                         struct error *err)
{
	if (slot >= STACK_MAX_PROCESSES)
		return error_set(err, ENOSPC, "more than %d processes", STACK_MAX_PROCESSES);
	if (n > MAX_SPANS_OF_ONE)
		return error_set(err, ENOSPC, "%zu executable mappings are too many", n);
	return bpf_tables_set_list(&t->spans, slot, spans, n, err);
}

/* ---- stacks ---- */

size_t bpf_tables_n_stacks(const struct bpf_tables *t)
{
	u32 used = __atomic_load_n(t->used_stacks, __ATOMIC_ACQUIRE);

	return used < t->stacks.n ? used : t->stacks.n;
}

const struct stack_record *bpf_tables_stack(const struct bpf_tables *t, u32 id)
{
	const struct stack_record *s = (const struct stack_record *)t->stacks.data + id;

	if (!id || id >= bpf_tables_n_stacks(t) || s->first + s->n > t->pcs.n)
		return NULL;
	return s;
}

const u64 *bpf_tables_pcs(const struct bpf_tables *t, const struct stack_record *s)
{
	return (const u64 *)t->pcs.data + s->first;
}
