/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/graph_account.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void graph_account_clear(struct graph_account *a)
{
	free(a->pages);
	*a = (struct graph_account){ 0 };
}

void graph_account_row(struct graph_account *a, const char *key, const char *title, uint64_t bytes,
                       uint64_t mapped_bytes)
{
	if (a->n_rows < GRAPH_ACCOUNT_ROWS)
		a->rows[a->n_rows++] = (struct graph_account_row){ key, title, bytes,
			                                           mapped_bytes };
}

void graph_account_check(struct graph_account *a, const char *key, uint64_t value)
{
	if (a->n_checks < GRAPH_ACCOUNT_CHECKS)
		a->checks[a->n_checks++] = (struct graph_account_check){ key, value };
}

void graph_account_warn(struct graph_account *a, const char *format, ...)
{
	va_list ap;

	if (a->n_warnings == GRAPH_ACCOUNT_WARNINGS)
		return;
	va_start(ap, format);
	vsnprintf(a->warnings[a->n_warnings++], GRAPH_ACCOUNT_TEXT_BYTES, format, ap);
	va_end(ap);
}

void graph_account_note(struct graph_account *a, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(a->note, sizeof(a->note), format, ap);
	va_end(ap);
}

struct graph_account_class *graph_account_class(struct graph_account *a, uint64_t object_bytes)
{
	for (size_t i = 0; i < a->n_classes; i++) {
		if (a->classes[i].object_bytes == object_bytes)
			return &a->classes[i];
	}
	if (a->n_classes == GRAPH_ACCOUNT_CLASSES)
		return NULL;
	a->classes[a->n_classes] = (struct graph_account_class){ .object_bytes = object_bytes };
	return &a->classes[a->n_classes++];
}

static int by_size(const void *a, const void *b)
{
	const struct graph_account_class *x = a, *y = b;

	/* 0 - 1 is the largest */
	return x->object_bytes - 1 < y->object_bytes - 1 ? -1 : x->object_bytes != y->object_bytes;
}

void graph_account_sort(struct graph_account *a)
{
	qsort(a->classes, a->n_classes, sizeof(a->classes[0]), by_size);
}
