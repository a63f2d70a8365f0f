/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What a runtime says beside the graph of its objects: what the pages of its
 * heap hold, and how far its own counters agree with what was read. The
 * surprising rule: rows are bytes of pages that are present, so they add up to
 * what the kernel calls resident; a large slice that nobody has touched is none
 * of it. A core does not say which pages were there: then rows are mapped bytes.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	GRAPH_ACCOUNT_ROWS = 12,
	GRAPH_ACCOUNT_CLASSES = 128,
	GRAPH_ACCOUNT_CHECKS = 24,
	GRAPH_ACCOUNT_WARNINGS = 8,
	GRAPH_ACCOUNT_TEXT_BYTES = 240,
};

struct graph_account {
	/* kind of the ladder's rows (runtime/regions.h) that these rows divide; NULL: none */
	const char *kind;
	const char *title; /* of the runtime: "Go" (static) */
	bool is_resident;
	struct graph_account_row {
		const char *key, *title; /* static: "live", "live" */
		uint64_t bytes;          /* resident, or mapped */
		uint64_t mapped_bytes;   /* of the same things, touched or not */
	} rows[GRAPH_ACCOUNT_ROWS];
	size_t n_rows;
	/* sizes of slots; objects of another size (large ones) have one class, size 0 */
	struct graph_account_class {
		uint64_t object_bytes, spans, objects;
		uint64_t in_use_bytes; /* slots that are taken, dead ones that are not swept, too */
		uint64_t wasted_bytes; /* the rest of the spans */
	} classes[GRAPH_ACCOUNT_CLASSES];
	size_t n_classes;
	/* Of a runtime that has its objects among others' (Lua, by malloc): the pages where they
	 * are, ascending, and how many bytes of each are theirs; owned. Those are none of the
	 * ladder's. */
	struct graph_account_page {
		uint64_t start;
		uint32_t live, garbage;
		bool is_present;
	} * pages;
	size_t n_pages;
	struct graph_account_check {
		const char *key; /* static */
		uint64_t value;
	} checks[GRAPH_ACCOUNT_CHECKS];
	size_t n_checks;
	char warnings[GRAPH_ACCOUNT_WARNINGS][GRAPH_ACCOUNT_TEXT_BYTES];
	size_t n_warnings;
	char note[GRAPH_ACCOUNT_TEXT_BYTES]; /* a difference that a sound program makes, too; "" */
};

void graph_account_clear(struct graph_account *a); /* { 0 } is empty */

/* One too many is dropped. */
void graph_account_row(struct graph_account *a, const char *key, const char *title, uint64_t bytes,
                       uint64_t mapped_bytes);
void graph_account_check(struct graph_account *a, const char *key, uint64_t value);
void graph_account_warn(struct graph_account *a, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void graph_account_note(struct graph_account *a, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* The class of this size, made on first use; NULL: too many. Valid as long as @a. */
struct graph_account_class *graph_account_class(struct graph_account *a, uint64_t object_bytes);
/* Classes by size, the large ones last. */
void graph_account_sort(struct graph_account *a);
