/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The spool's index: SQLite in WAL mode, synchronous=FULL, so that a row is on
 * disk when its function returns. Errors: -EUCLEAN says that the file is no
 * index or a broken one; -ENOSPC, -EIO as of files.
 */

#include "serve/spool.h"

struct spool_index;

/* What the index says of a capture beyond what others see. */
struct spool_index_row {
	struct spool_capture capture;
	int64_t lived_ns; /* the spool's own time when it was added */
};

int spool_index_open(const char *path, struct spool_index **ret, struct error *err);
struct spool_index *spool_index_close(struct spool_index *x);

int spool_index_add(struct spool_index *x, const struct spool_index_row *row, struct error *err);
int spool_index_delete(struct spool_index *x, uint64_t number, struct error *err);

/* Rows are asked for by one of these; the text after WHERE is a constant there. */
enum spool_index_order {
	SPOOL_INDEX_NEWEST,  /* of @target (NULL: all), newest first */
	SPOOL_INDEX_TRIGGER, /* of @target and @text as trigger, newest first */
	SPOOL_INDEX_ID,      /* @text is the id */
	SPOOL_INDEX_EVICT,   /* oldest first, but first and largest of a target last, and
	                      * of these those of the target that was quiet for longest */
};
struct spool_index_query {
	enum spool_index_order order;
	const char *target, *text;
	size_t max;             /* 0: all */
	uint64_t spare;         /* EVICT: not this number */
	int64_t lived_until_ns; /* EVICT: with @old, only rows added before that which are
	                         * neither first nor largest */
	bool old;
};
/* *ret is the caller's to free. */
int spool_index_rows(struct spool_index *x, const struct spool_index_query *q,
                     struct spool_index_row **ret, size_t *n, struct error *err);

int spool_index_totals(struct spool_index *x, uint64_t *captures, uint64_t *bytes,
                       uint64_t *last_number, struct error *err);

/* The spool's own time, and the wall clock's at the same moment. 0: never kept. */
int spool_index_keep_time(struct spool_index *x, int64_t lived_ns, int64_t unix_ns,
                          struct error *err);
int spool_index_time(struct spool_index *x, int64_t *lived_ns, int64_t *unix_ns, struct error *err);

/* One transaction around many changes (at opening). */
int spool_index_begin(struct spool_index *x, struct error *err);
int spool_index_end(struct spool_index *x, struct error *err);
