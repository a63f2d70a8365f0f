/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/feature.h"
#include "serve/alarms.h"
#include "serve/answer.h"
#include "serve/front.h"
#include "serve/metrics_page.h"
#include "serve/oom.h"
#include "serve/pushes.h"
#include "serve/sizes.h"
#include "serve/spool.h"
#include "serve/tally.h"
#include <config.h> /* in quotes it would be this folder's */

enum { GROWTH_POINTS = 12 }; /* a minute */

/* Of resident memory, over the last minute of the chart. */
static void put_growth(const struct watched_item *item, struct metrics_page_target *to)
{
	size_t last = (item->next_history + WATCHED_HISTORY - 1) % WATCHED_HISTORY;
	size_t first = (last + WATCHED_HISTORY - GROWTH_POINTS) % WATCHED_HISTORY;

	to->has_growth = item->history[first] && item->history[last];
	to->growth_bytes_per_s = ((double)item->history[last] - (double)item->history[first]) /
	                         (GROWTH_POINTS * WATCHED_EVERY_S);
}

static void put_target(const struct service *s, const struct watched_item *item,
                       struct metrics_page_target *to)
{
	bool is_recorded = item->n_processes && item->figures_due_ns;

	*to = (struct metrics_page_target){
		.name = item->name,
		.comm = item->n_processes ? item->comm : "",
		.is_up = item->n_processes > 0,
		.rows = sizes_of(s->sizes, item),
		.anon_bytes = item->n_processes ? (double)item->anon_bytes : -1,
		.cgroup_used_bytes = -1,
		.cgroup_limit_bytes = -1,
		.limit_eta_s = -1,
		.held_bytes = is_recorded ? (double)item->held_bytes : -1,
		.lost_events = is_recorded ? (double)item->lost_events : -1,
		.recording_cpu_s = is_recorded ? item->recording_cpu_s : -1,
		.recording_own_bytes = is_recorded ? (double)item->own_bytes : -1,
	};
	put_growth(item, to);
}

static void one(struct metrics *m, enum metrics_type type, const char *name, const char *help,
                double value)
{
	metrics_family(m, type, name, help);
	metrics_sample(m, value, NULL);
}

static void more(void *arg, struct metrics *m)
{
	const struct service *s = arg;
	struct jobs_counts jobs;
	struct http_counts http;

	jobs_counts(s->jobs, &jobs);
	front_counts(s, &http);
	one(m, METRICS_GAUGE, "memwho_captures_running", "Captures that attach, now.",
	    (double)jobs.running);
	one(m, METRICS_GAUGE, "memwho_recordings", "Targets that are recorded all the time, now.",
	    (double)jobs.recordings);
	one(m, METRICS_COUNTER, "memwho_captures_joined", "Requests that joined a running capture.",
	    (double)jobs.joined);
	one(m, METRICS_COUNTER, "memwho_captures_refused",
	    "Requests refused since another capture of the target ran, or all slots were used.",
	    (double)(jobs.busy + jobs.full));
	if (s->oom)
		one(m, METRICS_COUNTER, "memwho_oom_victims",
		    "Processes of this machine that were chosen to be killed for want of memory.",
		    (double)oom_count(s->oom));
	one(m, METRICS_GAUGE, "memwho_http_connections", "Open connections.", http.connections);
	one(m, METRICS_COUNTER, "memwho_http_requests", "Requests.", (double)http.requests);
	one(m, METRICS_COUNTER, "memwho_http_refused", "Requests that were refused.",
	    (double)http.refused);
	one(m, METRICS_COUNTER, "memwho_http_cut", "Connections that were too slow or too many.",
	    (double)http.cut);
}

int answer_metrics(const struct service *s, enum metrics_format format, FILE *to, struct error *err)
{
	size_t n = watched_n(s->watched);
	cleanup_free struct metrics_page_target *targets = calloc(n + 1, sizeof(*targets));
	cleanup_free struct metrics_page_captures *captures = NULL;
	cleanup_free struct metrics_page_push *pushes = NULL;
	struct spool_counts spool;
	struct metrics_page page = { .version = VERSION,
		                     .targets = targets,
		                     .n_targets = n,
		                     .n_captures = s->tally.n,
		                     .held_off = alarms_held_off(s->alarms),
		                     .more = more,
		                     .arg = (void *)s };
	int r = targets ? tally_rows(&s->tally, &captures, err) : error_oom(err);

	if (r == 0)
		r = pushes_rows(s->pushes, &pushes, &page.n_pushes, err);
	if (r < 0)
		return r;
	page.captures = captures;
	page.pushes = pushes;
	for (size_t i = 0; i < n; i++) {
		put_target(s, watched_at(s->watched, i), &targets[i]);
		alarms_figures(s->alarms, i, &targets[i]); /* the configuration's come first */
	}
	if (s->spool) {
		spool_counts(s->spool, &spool);
		page.spool = &spool;
	}
	return metrics_page_write(&page, format, to, err);
}
