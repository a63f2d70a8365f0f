/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/top_write.h"

#include <math.h>
#include <string.h>

#include "base/json.h"
#include "render/escape.h"
#include "render/units.h"

enum { NAME_COLUMNS = 16, ALLOCATOR_COLUMNS = 18, ID_COLUMNS = 12, NUMBER_COLUMNS = 11 };

static void put_bytes(FILE *to, int64_t v)
{
	char buf[UNITS_BYTES];

	fprintf(to, "%*s", NUMBER_COLUMNS, v < 0 ? "-" : units_bytes(v, buf, sizeof(buf)));
}

static void put_growth(FILE *to, const struct top_row *r)
{
	char buf[UNITS_BYTES];

	if (!r->has_growth)
		fprintf(to, "%*s", NUMBER_COLUMNS + 3, "-");
	else if (r->growth_bytes_s == 0)
		fprintf(to, "%*s", NUMBER_COLUMNS + 3, "0");
	else
		fprintf(to, "%*s/s", NUMBER_COLUMNS + 1,
		        units_value(llround(r->growth_bytes_s), true, true, buf, sizeof(buf)));
}

static void pad(FILE *to, size_t used, size_t columns)
{
	fprintf(to, "%*s", (int)(used < columns ? columns - used : 0), "");
}

static void put_allocator(FILE *to, const struct top_row *r)
{
	char buf[UNITS_BYTES];
	int n = 0;

	if (!r->was_looked_at || r->unnamed_bytes < 0)
		n = fprintf(to, "%s", r->is_denied ? "not ours" : "-");
	else if (r->allocator[0])
		n = fprintf(to, "%s %s", r->allocator,
		            units_bytes(r->allocator_bytes, buf, sizeof(buf)));
	pad(to, n > 0 ? (size_t)n : 0, ALLOCATOR_COLUMNS);
}

static void put_row(FILE *to, const struct top_view *v, const struct top_row *r)
{
	char pids[32];

	/* the number inside of its pid namespace behind ours */
	if (r->ns_pid != r->pid)
		snprintf(pids, sizeof(pids), "%d=%d", r->pid, r->ns_pid);
	else
		snprintf(pids, sizeof(pids), "%d", r->pid);
	fprintf(to, "%10s  ", pids);
	pad(to, escape_text(to, r->name, NAME_COLUMNS), NAME_COLUMNS);
	put_bytes(to, r->virtual_bytes);
	put_bytes(to, r->resident_bytes);
	if (v->growth)
		put_growth(to, r);
	if (v->pss)
		put_bytes(to, r->pss_bytes);
	put_bytes(to, r->swap_bytes);
	put_bytes(to, r->unnamed_bytes);
	fputs("  ", to);
	put_allocator(to, r);
	fprintf(to, " %7lld", (long long)r->n_threads);
	if (r->container[0])
		fprintf(to, "  %.*s", ID_COLUMNS, r->container);
	fputc('\n', to);
}

static void put_head(FILE *to, const struct top_view *v)
{
	fprintf(to, "%10s  %-*s%*s%*s", "PID", NAME_COLUMNS, "NAME", NUMBER_COLUMNS, "VIRTUAL",
	        NUMBER_COLUMNS, "RESIDENT");
	if (v->growth)
		fprintf(to, "%*s", NUMBER_COLUMNS + 3, "GROWTH");
	if (v->pss)
		fprintf(to, "%*s", NUMBER_COLUMNS, "PSS");
	fprintf(to, "%*s%*s  %-*s %7s  CONTAINER\n", NUMBER_COLUMNS, "SWAP", NUMBER_COLUMNS,
	        "UNNAMED", ALLOCATOR_COLUMNS, "ALLOCATOR", "THREADS");
}

struct totals {
	int64_t resident_bytes, swap_bytes;
	size_t n_denied, n_not_reached;
};

static struct totals total(const struct top_view *v)
{
	struct totals t = { 0 };

	for (size_t i = 0; i < v->top->n_rows; i++) {
		const struct top_row *r = &v->top->rows[i];

		t.resident_bytes += r->resident_bytes > 0 ? r->resident_bytes : 0;
		t.swap_bytes += r->swap_bytes > 0 ? r->swap_bytes : 0;
		t.n_denied += r->is_denied;
		t.n_not_reached += i < v->n_shown && !r->was_looked_at && !r->is_denied;
	}
	return t;
}

static void put_cgroup(FILE *to, const struct cgroup *c)
{
	char a[UNITS_BYTES], b[UNITS_BYTES];

	fputs("cgroup ", to);
	escape_text(to, c->place.path, 0);
	fprintf(to, ": %s", units_bytes((int64_t)c->current_bytes, a, sizeof(a)));
	if (c->limit_bytes != UINT64_MAX)
		fprintf(to, " of a limit of %s",
		        units_bytes((int64_t)c->limit_bytes, b, sizeof(b)));
	fputs("; memwho ladder shows its rows\n", to);
}

void top_write_table(const struct top_view *v, FILE *to)
{
	const struct top *t = v->top;
	struct totals sum = total(v);
	char a[UNITS_BYTES];

	if (v->cgroup)
		put_cgroup(to, v->cgroup);
	put_head(to, v);
	for (size_t i = 0; i < v->n_shown; i++)
		put_row(to, v, &t->rows[i]);
	fprintf(to, "%zu of %zu processes", v->n_shown, t->n_rows);
	fprintf(to, ", resident (VmRSS, shared memory once for each) %s",
	        units_bytes(sum.resident_bytes, a, sizeof(a)));
	if (sum.n_denied)
		fprintf(to, "; %zu not ours to look into", sum.n_denied);
	if (sum.n_not_reached)
		fprintf(to, "; %zu not looked into for lack of time (--all)", sum.n_not_reached);
	if (t->n_hidden)
		fprintf(to, "; %zu hidden by /proc", t->n_hidden);
	if (t->n_gone)
		fprintf(to, "; %zu ended meanwhile", t->n_gone);
	fputc('\n', to);
}

/*
 * JSON.
 */

static void json_known(struct json *j, const char *key, int64_t v)
{
	json_key(j, key);
	if (v < 0)
		json_null(j);
	else
		json_int(j, v);
}

static void json_text(struct json *j, const char *key, const char *text)
{
	json_key(j, key);
	json_string(j, text);
}

static void json_row(struct json *j, const struct top_view *v, const struct top_row *r)
{
	bool ladder = r->was_looked_at && r->unnamed_bytes >= 0;

	json_object(j);
	json_known(j, "pid", r->pid);
	json_known(j, "ns_pid", r->ns_pid);
	json_known(j, "uid", r->uid);
	json_text(j, "name", r->name);
	json_known(j, "virtual_bytes", r->virtual_bytes);
	json_known(j, "resident_bytes", r->resident_bytes);
	json_known(j, "anon_bytes", r->anon_bytes);
	json_known(j, "file_bytes", r->file_bytes);
	json_known(j, "shmem_bytes", r->shmem_bytes);
	json_known(j, "swap_bytes", r->swap_bytes);
	json_known(j, "pss_bytes", r->pss_bytes);
	json_known(j, "unnamed_bytes", r->unnamed_bytes);
	json_key(j, "allocator");
	if (ladder)
		json_string(j, r->allocator);
	else
		json_null(j);
	json_known(j, "allocator_bytes", ladder ? r->allocator_bytes : -1);
	json_known(j, "threads", r->n_threads);
	json_text(j, "container", r->container);
	json_key(j, "permitted");
	if (r->was_looked_at || r->is_denied)
		json_bool(j, !r->is_denied);
	else
		json_null(j);
	if (v->growth) {
		json_key(j, "growth_bytes_per_second");
		json_double(j, r->has_growth ? r->growth_bytes_s : NAN);
	}
	json_object_end(j);
}

static void json_cgroup(struct json *j, const struct cgroup *c)
{
	json_key(j, "cgroup");
	json_object(j);
	json_text(j, "path", c->place.path);
	json_known(j, "bytes", (int64_t)c->current_bytes);
	json_known(j, "limit_bytes", c->limit_bytes == UINT64_MAX ? -1 : (int64_t)c->limit_bytes);
	json_object_end(j);
}

void top_write_json(const struct top_view *v, FILE *to)
{
	const struct top *t = v->top;
	struct totals sum = total(v);
	struct json j = json_on(to);

	json_object(&j);
	json_text(&j, "result", "top");
	json_known(&j, "n_processes", (int64_t)t->n_rows);
	json_known(&j, "resident_bytes", sum.resident_bytes);
	json_known(&j, "swap_bytes", sum.swap_bytes);
	json_known(&j, "not_permitted", (int64_t)sum.n_denied);
	json_known(&j, "not_looked_into", (int64_t)sum.n_not_reached);
	json_known(&j, "hidden", (int64_t)t->n_hidden);
	json_known(&j, "ended", (int64_t)t->n_gone);
	if (v->cgroup)
		json_cgroup(&j, v->cgroup);
	json_key(&j, "processes");
	json_array(&j);
	for (size_t i = 0; i < v->n_shown; i++)
		json_row(&j, v, &t->rows[i]);
	json_array_end(&j);
	json_object_end(&j);
	fputc('\n', to);
}
