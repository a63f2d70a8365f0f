/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "render/escape.h"
#include "serve/answer.h"
#include "serve/answer_charts.h"
#include "serve/sizes.h"
#include "serve/spool.h"
#include "serve_css.h"
#include "serve_js.h"

enum { MAX_CAPTURES = 100 };

/* ---- targets ---- */

/* The name has nothing that a URL or HTML knows (config.c, route.c). */
static void write_links(const char *name, FILE *to)
{
	static const struct {
		const char *text, *path;
	} links[] = {
		{ "ladder", "flamegraph?kind=ladder" },
		{ "heap", "flamegraph?kind=heap" },
		{ "map", "flamegraph?kind=map&amp;seconds=5" },
		{ "refs", "flamegraph?kind=refs" },
		{ "pprof", "debug/pprof/heap" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(links); i++)
		fprintf(to, "<a class=button href=\"/targets/%s/%s\">%s</a> ", name, links[i].path,
		        links[i].text);
}

static void write_state(const struct service *s, const struct watched_item *item, FILE *to)
{
	static const char *const states[] = { "", "recording begins", "recorded", "not recorded" };
	char why[ERROR_MESSAGE_BYTES] = "";
	struct jobs_running running;
	enum jobs_recording state = jobs_recording_of(s->jobs, item->name, item->processes,
	                                              item->n_processes, why);

	fputs(states[state], to);
	if (state == JOBS_RECORDING_FAILED) {
		fputs(": ", to);
		escape_xml(to, why, 200);
	}
	if (jobs_running_of(s->jobs, item->name, &running)) {
		fputs("a capture runs", to);
		if (running.ends_in_s >= 0)
			fprintf(to, ", %.0f s left", running.ends_in_s);
	}
}

static void write_target(const struct service *s, const struct watched_item *item, FILE *to)
{
	fprintf(to, "<tr id=\"t-%s\"><th scope=row>%s<td>", item->name, item->name);
	escape_xml(to, item->comm, 64);
	for (uint32_t i = 0; i < item->n_processes && i < 4; i++)
		fprintf(to, " %d", item->processes[i].pid);
	if (item->n_processes > 4)
		fprintf(to, " and %u more", item->n_processes - 4);
	fputs("<td class=number data-field=resident>", to);
	if (item->n_processes)
		answer_charts_bytes(to, item->resident_bytes);
	fputs("<td class=number data-field=anon>", to);
	if (item->n_processes)
		answer_charts_bytes(to, item->anon_bytes);
	fputs("<td>", to);
	answer_charts_growth(item, to);
	fputs("<td>", to);
	if (item->n_processes)
		answer_charts_ladder(sizes_of(s->sizes, item), to);
	fputs("<td data-field=state>", to);
	if (item->n_processes)
		write_state(s, item, to);
	else
		escape_xml(to, item->why, 200);
	fputs("<td>", to);
	if (item->n_processes)
		write_links(item->name, to);
	fputs("\n", to);
}

static void write_targets(const struct service *s, const struct peer *p, FILE *to)
{
	size_t n = 0;

	fputs("<table id=targets><thead><tr><th scope=col>target<th scope=col>process"
	      "<th scope=col>resident<th scope=col>without files<th scope=col>resident, ten minutes"
	      "<th scope=col>resident, by owner<th scope=col>state<th scope=col>capture\n<tbody>",
	      to);
	for (size_t i = 0; i < watched_n(s->watched); i++) {
		const struct watched_item *item = watched_at(s->watched, i);

		if (!watched_may_see(item, p) && !(!item->n_processes && item->target))
			continue;
		write_target(s, item, to);
		n++;
	}
	fputs("</table>\n", to);
	if (!n)
		fputs("<p>No target that you may see. <code>/targets/PID</code> shows a process.\n",
		      to);
}

/* ---- captures ---- */

static void write_time(int64_t unix_ns, FILE *to)
{
	time_t t = (time_t)(unix_ns / 1000000000);
	char text[32] = "";
	struct tm tm;

	if (gmtime_r(&t, &tm))
		strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm);
	fputs(text, to);
}

static void write_capture(const struct spool_capture *c, FILE *to)
{
	fputs("<tr><td>", to);
	write_time(c->unix_ns, to);
	fputs("<td>", to);
	escape_xml(to, c->target, 64);
	fputs("<td>", to);
	escape_xml(to, c->trigger, 32);
	fputs("<td>", to);
	escape_xml(to, c->reason, 200);
	fputs("<td class=number>", to);
	if (c->held_bytes) /* of a ladder it is not known */
		answer_charts_bytes(to, c->held_bytes);
	fprintf(to,
	        "<td><a class=button href=\"/captures/%s?format=html\">open</a> "
	        "<a class=button href=\"/captures/%s\">pprof</a> ",
	        c->id, c->id);
	if (c->baseline[0])
		fprintf(to,
		        "<a class=button href=\"/captures/%s/diff?before=%s\">since the "
		        "baseline</a>",
		        c->id, c->baseline);
	fprintf(to,
	        "<td><input type=radio name=before value=\"%s\" form=diff aria-label=before>"
	        "<input type=radio name=after value=\"%s\" form=diff aria-label=after>\n",
	        c->id, c->id);
}

static void write_captures(const struct service *s, const struct peer *p, FILE *to)
{
	cleanup_free struct spool_capture *all = NULL;
	struct error ignored;
	size_t n = 0, written = 0;

	if (!s->spool || spool_list(s->spool, NULL, MAX_CAPTURES, &all, &n, &ignored) < 0)
		return;
	fputs("<section id=kept><h2>Captures</h2><table id=captures><thead><tr><th scope=col>time "
	      "(UTC)"
	      "<th scope=col>target<th scope=col>why<th scope=col>reason<th scope=col>held"
	      "<th scope=col>look<th scope=col>compare\n<tbody>",
	      to);
	for (size_t i = 0; i < n; i++) {
		if (!answer_may_list(s, p, all[i].target))
			continue;
		write_capture(&all[i], to);
		written++;
	}
	fputs("</table>\n", to);
	if (written > 1)
		fputs("<form id=diff action=/diff><button>compare the two</button></form>\n", to);
	if (!written)
		fputs("<p id=none>None yet: a trigger keeps one when a target grows.\n", to);
	fputs("</section>\n", to);
}

void answer_page(const struct service *s, const struct peer *p, FILE *to)
{
	fprintf(to,
	        "<!doctype html><html lang=en><meta charset=utf-8><title>memwho</title>"
	        "<meta name=viewport content=\"width=device-width\">"
	        "<link rel=icon href=\"data:,\"><style>%s</style>\n<h1>memwho</h1>\n",
	        serve_css);
	write_targets(s, p, to);
	write_captures(s, p, to);
	fputs("<p><a href=/metrics>metrics</a> <a href=/targets>targets as JSON</a>\n"
	      "<p id=said role=status></p>\n",
	      to);
	fprintf(to, "<script>%s</script>\n", serve_js);
}
