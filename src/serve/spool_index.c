/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/spool_index.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "base/array.h"
#include "base/cleanup.h"

struct spool_index {
	sqlite3 *db;
};

/* AUTOINCREMENT: a number is not given again when its row has been deleted. */
static const char schema[] =
	"CREATE TABLE IF NOT EXISTS capture("
	"number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, target TEXT NOT NULL, "
	"trigger TEXT NOT NULL, reason TEXT NOT NULL, baseline TEXT NOT NULL, "
	"unix_ns INTEGER NOT NULL, file_bytes INTEGER NOT NULL, held_bytes INTEGER NOT NULL, "
	"pid INTEGER NOT NULL, lived_ns INTEGER NOT NULL);"
	"CREATE INDEX IF NOT EXISTS capture_target ON capture(target, number);"
	"CREATE INDEX IF NOT EXISTS capture_held ON capture(target, held_bytes);"
	"CREATE TABLE IF NOT EXISTS time(one INTEGER PRIMARY KEY CHECK(one = 1), "
	"lived_ns INTEGER NOT NULL, unix_ns INTEGER NOT NULL);";

#define COLUMNS                                                                                    \
	"number, id, target, trigger, reason, baseline, unix_ns, file_bytes, held_bytes, pid, "    \
	"lived_ns"

/* Is row c kept longer than others? Of equal ones the first is the largest. */
#define IS_KEPT                                                                                    \
	"(c.number = (SELECT min(number) FROM capture WHERE target = c.target) OR "                \
	"c.number = (SELECT number FROM capture WHERE target = c.target "                          \
	"ORDER BY held_bytes DESC, number LIMIT 1))"

static const char *const queries[] = {
	[SPOOL_INDEX_NEWEST] = "SELECT " COLUMNS " FROM capture WHERE ?1 IS NULL OR target = ?1 "
			       "ORDER BY number DESC LIMIT ?3",
	[SPOOL_INDEX_TRIGGER] = "SELECT " COLUMNS " FROM capture WHERE target = ?1 AND "
				"trigger = ?2 ORDER BY number DESC LIMIT ?3",
	[SPOOL_INDEX_ID] = "SELECT " COLUMNS " FROM capture WHERE id = ?2 LIMIT ?3",
	[SPOOL_INDEX_EVICT] = "SELECT " COLUMNS " FROM capture c WHERE number <> ?4 AND "
			      "(?5 = 0 OR (lived_ns < ?6 AND NOT " IS_KEPT ")) "
			      "ORDER BY " IS_KEPT ", CASE WHEN " IS_KEPT " THEN "
			      "(SELECT max(number) FROM capture WHERE target = c.target) "
			      "ELSE 0 END, number LIMIT ?3",
};

static int fail(struct spool_index *x, int code, struct error *err)
{
	switch (code & 0xff) {
	case SQLITE_NOMEM: return error_oom(err);
	case SQLITE_FULL: return error_set(err, ENOSPC, "the spool's index: the disk is full");
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB: return error_set(err, EUCLEAN, "the spool's index is broken");
	case SQLITE_CONSTRAINT: return error_set(err, EEXIST, "the spool has that capture");
	default:
		return error_set(err, EIO, "the spool's index: %s",
		                 x->db ? sqlite3_errmsg(x->db) : sqlite3_errstr(code));
	}
}

static int run(struct spool_index *x, const char *sql, struct error *err)
{
	int code = sqlite3_exec(x->db, sql, NULL, NULL, NULL);

	return code == SQLITE_OK ? 0 : fail(x, code, err);
}

static void finalize(sqlite3_stmt **s)
{
	sqlite3_finalize(*s);
}

static int prepare(struct spool_index *x, const char *sql, sqlite3_stmt **ret, struct error *err)
{
	int code = sqlite3_prepare_v2(x->db, sql, -1, ret, NULL);

	return code == SQLITE_OK ? 0 : fail(x, code, err);
}

/* A change: one step, no rows. */
static int step(struct spool_index *x, sqlite3_stmt *s, struct error *err)
{
	int code = sqlite3_step(s);

	return code == SQLITE_DONE ? 0 : fail(x, code, err);
}

/* A broken page is found now, and not by the one query that needs it. */
static int check(struct spool_index *x, struct error *err)
{
	cleanup(finalize) sqlite3_stmt *s = NULL;
	int code, r = prepare(x, "PRAGMA quick_check(1)", &s, err);

	if (r < 0)
		return r;
	code = sqlite3_step(s);
	if (code != SQLITE_ROW)
		return fail(x, code, err);
	if (strcmp((const char *)sqlite3_column_text(s, 0), "ok") != 0)
		return fail(x, SQLITE_CORRUPT, err);
	return 0;
}

struct spool_index *spool_index_close(struct spool_index *x)
{
	if (x)
		sqlite3_close_v2(x->db);
	free(x);
	return NULL;
}

static void index_closep(struct spool_index **x)
{
	spool_index_close(*x);
}

int spool_index_open(const char *path, struct spool_index **ret, struct error *err)
{
	cleanup(index_closep) struct spool_index *x = calloc(1, sizeof(*x));
	int code, r;

	if (!x)
		return error_oom(err);
	code = sqlite3_open_v2(path, &x->db,
	                       SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOFOLLOW |
	                               SQLITE_OPEN_NOMUTEX,
	                       NULL);
	if (code != SQLITE_OK)
		return fail(x, code, err);
	/* one process has it open: no shared memory for others is needed */
	r = run(x,
	        "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; "
	        "PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF; "
	        "PRAGMA wal_autocheckpoint = 100; PRAGMA journal_size_limit = 524288; "
	        "PRAGMA cache_size = -1024",
	        err);
	if (r == 0)
		r = check(x, err);
	if (r == 0)
		r = run(x, schema, err);
	if (r < 0)
		return r;
	*ret = take_ptr(x);
	return 0;
}

static void bind_text(sqlite3_stmt *s, int i, const char *text)
{
	if (text)
		sqlite3_bind_text(s, i, text, -1, SQLITE_STATIC);
}

int spool_index_add(struct spool_index *x, const struct spool_index_row *row, struct error *err)
{
	cleanup(finalize) sqlite3_stmt *s = NULL;
	const struct spool_capture *c = &row->capture;
	int r = prepare(x, "INSERT INTO capture(" COLUMNS ") VALUES(?,?,?,?,?,?,?,?,?,?,?)", &s,
	                err);

	if (r < 0)
		return r;
	sqlite3_bind_int64(s, 1, (int64_t)c->number);
	bind_text(s, 2, c->id);
	bind_text(s, 3, c->target);
	bind_text(s, 4, c->trigger);
	bind_text(s, 5, c->reason);
	bind_text(s, 6, c->baseline);
	sqlite3_bind_int64(s, 7, c->unix_ns);
	sqlite3_bind_int64(s, 8, (int64_t)c->file_bytes);
	sqlite3_bind_int64(s, 9, (int64_t)c->held_bytes);
	sqlite3_bind_int64(s, 10, c->pid);
	sqlite3_bind_int64(s, 11, row->lived_ns);
	return step(x, s, err);
}

int spool_index_delete(struct spool_index *x, uint64_t number, struct error *err)
{
	cleanup(finalize) sqlite3_stmt *s = NULL;
	int r = prepare(x, "DELETE FROM capture WHERE number = ?", &s, err);

	if (r < 0)
		return r;
	sqlite3_bind_int64(s, 1, (int64_t)number);
	return step(x, s, err);
}

static void copy_text(sqlite3_stmt *s, int column, char *to, size_t size)
{
	const char *text = (const char *)sqlite3_column_text(s, column);

	snprintf(to, size, "%s", text ? text : "");
}

static void read_row(sqlite3_stmt *s, struct spool_index_row *row)
{
	struct spool_capture *c = &row->capture;

	*row = (struct spool_index_row){ .lived_ns = sqlite3_column_int64(s, 10) };
	c->number = (uint64_t)sqlite3_column_int64(s, 0);
	copy_text(s, 1, c->id, sizeof(c->id));
	copy_text(s, 2, c->target, sizeof(c->target));
	copy_text(s, 3, c->trigger, sizeof(c->trigger));
	copy_text(s, 4, c->reason, sizeof(c->reason));
	copy_text(s, 5, c->baseline, sizeof(c->baseline));
	c->unix_ns = sqlite3_column_int64(s, 6);
	c->file_bytes = (uint64_t)sqlite3_column_int64(s, 7);
	c->held_bytes = (uint64_t)sqlite3_column_int64(s, 8);
	c->pid = sqlite3_column_int(s, 9);
}

int spool_index_rows(struct spool_index *x, const struct spool_index_query *q,
                     struct spool_index_row **ret, size_t *n, struct error *err)
{
	cleanup_free struct spool_index_row *rows = NULL;
	cleanup(finalize) sqlite3_stmt *s = NULL;
	size_t n_rows = 0, cap = 0;
	int code, r = prepare(x, queries[q->order], &s, err);

	if (r < 0)
		return r;
	bind_text(s, 1, q->target);
	bind_text(s, 2, q->text);
	sqlite3_bind_int64(s, 3, q->max ? (int64_t)q->max : -1);
	sqlite3_bind_int64(s, 4, (int64_t)q->spare);
	sqlite3_bind_int64(s, 5, q->old);
	sqlite3_bind_int64(s, 6, q->lived_until_ns);
	while ((code = sqlite3_step(s)) == SQLITE_ROW) {
		r = array_reserve(&rows, &cap, n_rows + 1, err);
		if (r < 0)
			return r;
		read_row(s, &rows[n_rows++]);
	}
	if (code != SQLITE_DONE)
		return fail(x, code, err);
	*ret = take_ptr(rows);
	*n = n_rows;
	return 0;
}

int spool_index_totals(struct spool_index *x, uint64_t *captures, uint64_t *bytes,
                       uint64_t *last_number, struct error *err)
{
	cleanup(finalize) sqlite3_stmt *s = NULL;
	int code, r = prepare(x,
	                      "SELECT count(*), coalesce(sum(file_bytes), 0), coalesce((SELECT seq "
	                      "FROM sqlite_sequence WHERE name = 'capture'), 0) FROM capture",
	                      &s, err);

	if (r < 0)
		return r;
	code = sqlite3_step(s);
	if (code != SQLITE_ROW)
		return fail(x, code, err);
	*captures = (uint64_t)sqlite3_column_int64(s, 0);
	*bytes = (uint64_t)sqlite3_column_int64(s, 1);
	*last_number = (uint64_t)sqlite3_column_int64(s, 2);
	return 0;
}

int spool_index_keep_time(struct spool_index *x, int64_t lived_ns, int64_t unix_ns,
                          struct error *err)
{
	cleanup(finalize) sqlite3_stmt *s = NULL;
	int r = prepare(x, "INSERT OR REPLACE INTO time(one, lived_ns, unix_ns) VALUES(1, ?, ?)",
	                &s, err);

	if (r < 0)
		return r;
	sqlite3_bind_int64(s, 1, lived_ns);
	sqlite3_bind_int64(s, 2, unix_ns);
	return step(x, s, err);
}

int spool_index_time(struct spool_index *x, int64_t *lived_ns, int64_t *unix_ns, struct error *err)
{
	cleanup(finalize) sqlite3_stmt *s = NULL;
	int code, r = prepare(x, "SELECT lived_ns, unix_ns FROM time", &s, err);

	if (r < 0)
		return r;
	code = sqlite3_step(s);
	if (code != SQLITE_ROW && code != SQLITE_DONE)
		return fail(x, code, err);
	*lived_ns = code == SQLITE_ROW ? sqlite3_column_int64(s, 0) : 0;
	*unix_ns = code == SQLITE_ROW ? sqlite3_column_int64(s, 1) : 0;
	return 0;
}

int spool_index_begin(struct spool_index *x, struct error *err)
{
	return run(x, "BEGIN IMMEDIATE", err);
}

int spool_index_end(struct spool_index *x, struct error *err)
{
	return run(x, "COMMIT", err);
}
