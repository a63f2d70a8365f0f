/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The maps of bpf/unwind.bpf.h and bpf/stacks.bpf.h from user space: unwind
 * rows and executable mappings go in, stacks come out. All are arrays mapped
 * into memwho. The surprising rule: what a process has is never changed in
 * place, a program may be reading it; it is written anew and then pointed at.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "unwind/table.h"

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#include "bpf/stack_format.h"

struct bpf_map;
struct bpf_object;

/* An array map that is mapped into memwho. */
struct bpf_tables_array {
	void *data;
	size_t bytes, n, used;
};
int bpf_tables_map(struct bpf_map *map, struct bpf_tables_array *ret, struct error *err);
void bpf_tables_unmap(struct bpf_tables_array *a);

/* A list for each process in one array, which has two halves: when one is full,
 * what is in use is written into the other. */
struct bpf_tables_lists {
	struct bpf_tables_array array;
	size_t half_n, item_bytes;
	unsigned half;
	/* where each process's (position, length) is: 8 bytes, aligned */
	char *places;
	size_t place_stride;
	struct bpf_tables_list { /* what each slot has now, to write it anew */
		void *items;
		u32 n;
	} slots[STACK_MAX_PROCESSES];
};
/* @map has room for twice as many as may be in use at one time. */
int bpf_tables_open_lists(struct bpf_map *map, size_t item_bytes, u32 *first_place,
                          size_t place_stride, struct bpf_tables_lists *ret, struct error *err);
void bpf_tables_close_lists(struct bpf_tables_lists *l);
/* Takes effect at once. -ENOSPC. */
int bpf_tables_set_list(struct bpf_tables_lists *l, u32 slot, const void *items, size_t n,
                        struct error *err);
void bpf_tables_drop_list(struct bpf_tables_lists *l, u32 slot);

struct bpf_tables {
	struct bpf_tables_array rows, index, stacks, pcs;
	struct bpf_tables_lists spans;
	const u32 *used_stacks; /* the program's counter */
};

struct bpf_tables_sizes {
	size_t rows, index; /* unwind rows and index slots of all modules, with headroom */
	size_t stacks, pcs; /* distinct stacks and their frames */
};
/* Before the load. The caller sets max_stacks and max_pcs in rodata to the same. */
int bpf_tables_set_sizes(struct bpf_object *object, const struct bpf_tables_sizes *s,
                         struct error *err);
/* After the load; @processes and @used_stacks as the program has them. On
 * failure bpf_tables_close() is still the caller's. */
int bpf_tables_open(struct bpf_object *object, struct stack_process *processes,
                    const u32 *used_stacks, struct bpf_tables *ret, struct error *err);
void bpf_tables_close(struct bpf_tables *t);

/* Where a module's rows are in the tables. */
struct bpf_tables_module {
	u32 first_row, n_rows;
	u32 first_index, n_index;
	u64 text_base;
};
/* -ENOSPC when the rows do not fit any more. */
int bpf_tables_add(struct bpf_tables *t, const struct unwind_table *table,
                   struct bpf_tables_module *ret, struct error *err);
/* The executable mappings of the process in @slot, sorted. */
int bpf_tables_set_spans(struct bpf_tables *t, u32 slot, const struct stack_span *spans, size_t n,
                         struct error *err);

/* A stored stack; NULL if there is none with this id. */
const struct stack_record *bpf_tables_stack(const struct bpf_tables *t, u32 id);
size_t bpf_tables_n_stacks(const struct bpf_tables *t);
const u64 *bpf_tables_pcs(const struct bpf_tables *t, const struct stack_record *s);
