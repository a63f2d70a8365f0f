/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/metrics_page.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"

/* --- a ladder in figures ---------------------------------------------------------------- */

static struct metrics_page_row *row_of(struct metrics_page_rows *r, const char *kind)
{
	for (size_t i = 0; i < r->n; i++)
		if (!strcmp(r->row[i].kind, kind))
			return &r->row[i];
	if (r->n == METRICS_PAGE_MAX_KINDS)
		return &r->row[r->n - 1];
	r->row[r->n] =
		(struct metrics_page_row){ .kind = kind, .in_use_bytes = -1, .cached_bytes = -1 };
	return &r->row[r->n++];
}

static void add_known(int64_t *to, int64_t bytes)
{
	if (bytes >= 0)
		*to = (*to < 0 ? 0 : *to) + bytes;
}

void metrics_page_rows(const struct ladder *l, struct metrics_page_rows *ret)
{
	*ret = (struct metrics_page_rows){ 0 };
	for (size_t i = 0; i < l->n_parts; i++) {
		const struct ladder_part *p = &l->parts[i];
		struct metrics_page_row *row = row_of(ret, p->heap.kind);

		row->virtual_bytes += p->virtual_bytes;
		row->resident_bytes += p->resident_bytes;
		row->swap_bytes += p->swap_bytes;
		row->is_inside |= p->heap.inside[0] != '\0';
		add_known(&row->in_use_bytes, p->heap.in_use_bytes);
		add_known(&row->cached_bytes, p->heap.cached_bytes);
	}
}

/* --- targets ------------------------------------------------------------------------------ */

struct page {
	struct metrics m;
	const struct metrics_page *p;
	size_t n_targets;
};

static const char *text(const char *s)
{
	return s ? s : "";
}

enum row_field { VIRTUAL, RESIDENT, SWAP, IN_USE, CACHED };

static double field(const struct metrics_page_row *r, enum row_field f)
{
	switch (f) {
	case VIRTUAL: return (double)r->virtual_bytes;
	case RESIDENT: return (double)r->resident_bytes;
	case SWAP: return (double)r->swap_bytes;
	case IN_USE: return (double)r->in_use_bytes;
	case CACHED: return (double)r->cached_bytes;
	}
	return -1;
}

static void write_rows(struct page *g, enum row_field f, const char *name, const char *help)
{
	metrics_family(&g->m, METRICS_GAUGE, name, help);
	for (size_t i = 0; i < g->n_targets; i++) {
		const struct metrics_page_target *t = &g->p->targets[i];

		for (size_t k = 0; t->rows && k < t->rows->n; k++) {
			const struct metrics_page_row *row = &t->rows->row[k];

			if (field(row, f) >= 0)
				metrics_sample(&g->m, field(row, f),
				               metrics_labels("target", text(t->name), "comm",
				                              text(t->comm), "kind", row->kind));
		}
	}
}

static void write_ladders(struct page *g)
{
	write_rows(g, VIRTUAL, "memwho_process_virtual_bytes",
	           "Address space of a target, by what owns it.");
	write_rows(g, RESIDENT, "memwho_process_resident_bytes",
	           "Resident memory of a target, by what owns it.");
	write_rows(g, SWAP, "memwho_process_swap_bytes",
	           "Swapped memory of a target, by what owned it.");
	write_rows(g, IN_USE, "memwho_allocator_in_use_bytes",
	           "What an allocator has given out and not got back, by its own figures.");
	write_rows(g, CACHED, "memwho_allocator_cached_bytes",
	           "Part of what is in use: free blocks in caches of threads.");
}

/* One figure of each target; negative: not known, and left out. */
static void write_figure(struct page *g, enum metrics_type type, size_t offset, const char *name,
                         const char *help)
{
	metrics_family(&g->m, type, name, help);
	for (size_t i = 0; i < g->n_targets; i++) {
		const struct metrics_page_target *t = &g->p->targets[i];
		double v;

		memcpy(&v, (const char *)t + offset, sizeof(v));
		if (v >= 0)
			metrics_sample(&g->m, v, metrics_labels("target", text(t->name)));
	}
}

static void write_up(struct page *g)
{
	metrics_family(&g->m, METRICS_GAUGE, "memwho_target_up",
	               "Whether a process of the target runs and can be read.");
	for (size_t i = 0; i < g->n_targets; i++)
		metrics_sample(&g->m, g->p->targets[i].is_up,
		               metrics_labels("target", text(g->p->targets[i].name)));
	metrics_family(&g->m, METRICS_GAUGE, "memwho_targets_left_out",
	               "Targets above the number that metrics are written of.");
	metrics_sample(&g->m, (double)(g->p->n_targets - g->n_targets), NULL);
}

static void write_growth(struct page *g)
{
	metrics_family(&g->m, METRICS_GAUGE, "memwho_growth_bytes_per_second",
	               "How fast the target's anonymous memory grows.");
	for (size_t i = 0; i < g->n_targets; i++)
		if (g->p->targets[i].has_growth)
			metrics_sample(&g->m, g->p->targets[i].growth_bytes_per_s,
			               metrics_labels("target", text(g->p->targets[i].name)));
}

static void write_figures(struct page *g)
{
#define FIGURE(type, member, name, help)                                                           \
	write_figure(g, type, offsetof(struct metrics_page_target, member), name, help)
	FIGURE(METRICS_GAUGE, anon_bytes, "memwho_process_anon_bytes",
	       "Resident memory of the target without files.");
	FIGURE(METRICS_GAUGE, cgroup_used_bytes, "memwho_cgroup_used_bytes",
	       "What the target's memory cgroup is charged, less inactive files.");
	FIGURE(METRICS_GAUGE, cgroup_limit_bytes, "memwho_cgroup_limit_bytes",
	       "Limit of the target's memory cgroup.");
	FIGURE(METRICS_GAUGE, limit_eta_s, "memwho_limit_eta_seconds",
	       "Time until the cgroup is at its limit, while it grows steadily.");
	FIGURE(METRICS_GAUGE, held_bytes, "memwho_held_bytes",
	       "What the running recording has seen allocated and not freed.");
	FIGURE(METRICS_COUNTER, lost_events, "memwho_lost_events",
	       "Events that the running recording could not keep.");
	FIGURE(METRICS_COUNTER, recording_cpu_s, "memwho_recording_cpu_seconds",
	       "CPU time that the running recording has cost the target, as it is estimated.");
	FIGURE(METRICS_GAUGE, recording_own_bytes, "memwho_recording_resident_bytes",
	       "Memory of memwho's own in the target, which growth rules do not count.");
#undef FIGURE
}

/* --- memwho itself ------------------------------------------------------------------------ */

static void write_captures(struct page *g)
{
	metrics_family(&g->m, METRICS_COUNTER, "memwho_captures",
	               "Captures by what became of them.");
	for (size_t i = 0; i < g->p->n_captures; i++) {
		const struct metrics_page_captures *c = &g->p->captures[i];

		metrics_sample_exemplar(&g->m, (double)c->n,
		                        metrics_labels("target", text(c->target), "trigger",
		                                       text(c->trigger), "outcome",
		                                       text(c->outcome)),
		                        c->last_id, c->last_unix_s);
	}
	metrics_family(&g->m, METRICS_COUNTER, "memwho_captures_held_off",
	               "Captures that were due within a cooldown or above a day's number.");
	metrics_sample(&g->m, (double)g->p->held_off, NULL);
}

static void one(struct page *g, enum metrics_type type, const char *name, const char *help,
                double value)
{
	metrics_family(&g->m, type, name, help);
	metrics_sample(&g->m, value, NULL);
}

static void write_spool(struct page *g)
{
	const struct spool_counts *s = g->p->spool;

	if (!s)
		return;
	one(g, METRICS_GAUGE, "memwho_spool_bytes", "Captures in the spool.", (double)s->bytes);
	one(g, METRICS_GAUGE, "memwho_spool_captures", "Number of captures in the spool.",
	    (double)s->captures);
	one(g, METRICS_COUNTER, "memwho_spool_evicted", "Captures deleted to keep the limits.",
	    (double)s->evicted);
	one(g, METRICS_COUNTER, "memwho_spool_refused", "Captures that could not be kept.",
	    (double)s->refused);
}

enum push_field { QUEUED, QUEUED_BYTES, SENT, REFUSED, FULL, RETRIES };

static void write_push(struct page *g, enum push_field f, enum metrics_type type, const char *name,
                       const char *help)
{
	metrics_family(&g->m, type, name, help);
	for (size_t i = 0; i < g->p->n_pushes; i++) {
		const struct metrics_page_push *x = &g->p->pushes[i];
		const uint64_t values[] = { x->queued,          x->queued_bytes, x->sent,
			                    x->dropped_refused, x->dropped_full, x->retries };

		metrics_sample(&g->m, (double)values[f], metrics_labels("push", text(x->name)));
	}
}

static void write_pushes(struct page *g)
{
	if (!g->p->n_pushes)
		return;
	write_push(g, QUEUED, METRICS_GAUGE, "memwho_push_queued",
	           "Captures that wait to be sent.");
	write_push(g, QUEUED_BYTES, METRICS_GAUGE, "memwho_push_queued_bytes",
	           "Bytes of captures that wait to be sent.");
	write_push(g, SENT, METRICS_COUNTER, "memwho_push_sent", "Captures that were accepted.");
	write_push(g, REFUSED, METRICS_COUNTER, "memwho_push_refused",
	           "Captures that the other side refused, and that are not sent again.");
	write_push(g, FULL, METRICS_COUNTER, "memwho_push_overflowed",
	           "Captures that were dropped because the queue was full.");
	write_push(g, RETRIES, METRICS_COUNTER, "memwho_push_retries", "Attempts that failed.");
}

/* -1: not known. */
static double own_resident(void)
{
	unsigned long long pages;
	double bytes = -1;
	FILE *f = fopen("/proc/self/statm", "re");

	if (f && fscanf(f, "%*u %llu", &pages) == 1)
		bytes = (double)pages * (double)sysconf(_SC_PAGESIZE);
	if (f)
		fclose(f);
	return bytes;
}

static double children_cpu_s(void)
{
	struct rusage u;

	if (getrusage(RUSAGE_CHILDREN, &u) < 0)
		return 0;
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void write_own(struct page *g)
{
	metrics_family(&g->m, METRICS_GAUGE, "memwho_build_info", "The version of memwho.");
	metrics_sample(&g->m, 1, metrics_labels("version", text(g->p->version)));
	one(g, METRICS_COUNTER, "memwho_own_cpu_seconds", "CPU time of memwho itself.",
	    (double)clock_self_cpu_ns() / 1e9);
	one(g, METRICS_COUNTER, "memwho_captures_cpu_seconds",
	    "CPU time of the processes that captured, and have ended.", children_cpu_s());
	if (own_resident() >= 0)
		one(g, METRICS_GAUGE, "memwho_own_resident_bytes",
		    "Resident memory of memwho itself.", own_resident());
}

int metrics_page_write(const struct metrics_page *p, enum metrics_format f, FILE *to,
                       struct error *err)
{
	struct page g = { .m = metrics_on(to, f), .p = p, .n_targets = p->n_targets };

	if (g.n_targets > METRICS_PAGE_MAX_TARGETS)
		g.n_targets = METRICS_PAGE_MAX_TARGETS;
	write_own(&g);
	write_up(&g);
	write_ladders(&g);
	write_growth(&g);
	write_figures(&g);
	write_captures(&g);
	write_spool(&g);
	write_pushes(&g);
	if (p->more)
		p->more(p->arg, &g.m);
	one(&g, METRICS_COUNTER, "memwho_metrics_left_out", "Samples above the bound of a family.",
	    (double)g.m.dropped);
	metrics_end(&g.m);
	return ferror(to) ? error_set(err, EIO, "the metrics could not be written") : 0;
}
