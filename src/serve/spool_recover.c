/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/spool_recover.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "serve/spool_files.h"

static const int64_t DAY_NS = 86400ll * 1000000000;
static const uint64_t MAX_PARSED_BYTES = 256 << 20; /* of adopted files */

struct recovery {
	int top;
	struct spool_index *index;
	struct spool_counts *counts;
	struct spool_index_row *rows;
	size_t n_rows;
	bool *seen;
	struct hash_map by_id; /* hash of an id to its row */
	int64_t lived_ns, unix_ns;
	uint64_t parsed_bytes;
	struct error *err;
};

static void recovery_clear(struct recovery *x)
{
	free(x->rows);
	free(x->seen);
	hash_map_clear(&x->by_id);
}

static uint64_t hash_id(const struct spool_capture *c)
{
	return hash_bytes(c->id, strlen(c->id), 0);
}

static int find_rows(struct recovery *x)
{
	int r = spool_index_rows(x->index, &(struct spool_index_query){ 0 }, &x->rows, &x->n_rows,
	                         x->err);

	if (r < 0)
		return r;
	x->seen = calloc(x->n_rows + 1, sizeof(*x->seen));
	if (!x->seen)
		return error_oom(x->err);
	for (size_t i = 0; r == 0 && i < x->n_rows; i++)
		r = hash_map_add(&x->by_id, hash_id(&x->rows[i].capture), i, x->err);
	return r;
}

static bool is_row(struct recovery *x, const struct spool_capture *c)
{
	size_t pos = 0;
	uint64_t *i;

	while ((i = hash_map_next(&x->by_id, hash_id(c), &pos))) {
		const struct spool_capture *row = &x->rows[*i].capture;

		if (!strcmp(row->id, c->id) && !strcmp(row->target, c->target)) {
			x->seen[*i] = true;
			return true;
		}
	}
	return false;
}

/* A file without a row: memwho was killed between the two, or the index is new. */
static int adopt(void *data, const struct spool_capture *c)
{
	struct recovery *x = data;
	struct spool_index_row row = { .capture = *c };
	int r;

	if (is_row(x, c))
		return 0;
	if (x->parsed_bytes < MAX_PARSED_BYTES) {
		x->parsed_bytes += c->file_bytes;
		row.capture.held_bytes = spool_files_held_bytes(x->top, c);
	}
	row.lived_ns = x->lived_ns - spool_recover_between(0, x->unix_ns - c->unix_ns, DAY_NS);
	r = spool_index_add(x->index, &row, x->err);
	if (r == -EEXIST) /* its number is another's, or another target has its id */
		return 0;
	x->counts->adopted += r == 0;
	return r;
}

int spool_recover(int top, struct spool_index *index, int64_t lived_ns, int64_t unix_ns,
                  struct spool_counts *counts, struct error *err)
{
	cleanup(recovery_clear) struct recovery x = { .top = top,
		                                      .index = index,
		                                      .counts = counts,
		                                      .lived_ns = lived_ns,
		                                      .unix_ns = unix_ns,
		                                      .err = err };
	int r = spool_index_begin(index, err);

	if (r == 0)
		r = find_rows(&x);
	if (r == 0)
		r = spool_files_each(top, adopt, &x, &counts->unfinished, err);
	for (size_t i = 0; r == 0 && i < x.n_rows; i++) {
		if (x.seen[i])
			continue;
		counts->rows_lost++;
		r = spool_index_delete(index, x.rows[i].capture.number, err);
	}
	return r < 0 ? r : spool_index_end(index, err);
}
