/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/watch.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cli/cli.h"
#include "cli/interrupt.h"
#include "render/ladder_watch.h"

struct looks {
	struct profile *first, *last, *now;
	uint64_t first_ns, last_ns, now_ns;
};

static void looks_clear(struct looks *l)
{
	if (l->last != l->first)
		profile_freep(&l->last);
	profile_freep(&l->first);
	profile_freep(&l->now);
}

static bool is_table(const struct watch *w)
{
	return !strcmp(w->show.format->name, "table") && !strcmp(w->show.path, "-");
}

/* The first look whole, later ones by what changed; a file is always whole. */
static int tell(const struct watch *w, const struct looks *l, struct error *err)
{
	double seconds = (double)(l->now_ns - l->last_ns) / 1e9;
	int r = 0;

	if (!is_table(w) || !l->last)
		r = show_profile(&w->show, l->now, err);
	if (r == 0 && l->last && (is_table(w) || strcmp(w->show.path, "-") != 0)) {
		/* a terminal has the newest look only */
		if (w->show.options.colour)
			fputs("\033[H\033[2J", stdout);
		r = ladder_watch_write(l->last, l->now, seconds, false, &w->show.options, stdout,
		                       err);
	}
	fflush(stdout);
	return r;
}

static void keep(struct looks *l)
{
	if (l->last && l->last != l->first)
		profile_freep(&l->last);
	l->last = take_ptr(l->now);
	l->last_ns = l->now_ns;
	if (!l->first) {
		l->first = l->last;
		l->first_ns = l->last_ns;
	}
}

static int summarise(const struct watch *w, const struct looks *l, struct error *err)
{
	if (!l->first || l->first == l->last || (!is_table(w) && !strcmp(w->show.path, "-")))
		return 0;
	fputc('\n', stdout);
	return ladder_watch_write(l->first, l->last, (double)(l->last_ns - l->first_ns) / 1e9, true,
	                          &w->show.options, stdout, err);
}

static bool is_over(const struct watch *w, const struct looks *l)
{
	return interrupt_came() || ferror(stdout) ||
	       (w->duration_s > 0 &&
	        (double)(l->last_ns - l->first_ns) / 1e9 >= w->duration_s - 0.001);
}

int watch_run(const struct watch *w, const pid_t *pids, size_t n, struct error *err)
{
	cleanup(looks_clear) struct looks l = { 0 };
	uint64_t every_ns = (uint64_t)(w->every_s * 1e9), next_ns = clock_now_ns();
	int r;

	interrupt_catch();
	for (;;) {
		r = live_ladder_read(pids, n, &w->ladder,
		                     strcmp(w->show.format->name, "table") != 0, &l.now, err);
		/* the target's end is the end of the story, not a failure; until its
		 * parent asks it is a zombie, which can't be looked at (-ENOTSUP) */
		if ((r == -ESRCH || r == -ENOTSUP) && l.first) {
			cli_say("the target has ended");
			break;
		}
		if (r < 0)
			return r;
		l.now_ns = clock_now_ns();
		r = tell(w, &l, err);
		if (r < 0)
			return r;
		keep(&l);
		if (is_over(w, &l))
			break;
		next_ns += every_ns;
		/* looks that take longer than that are not made up for */
		if (next_ns < l.now_ns)
			next_ns = l.now_ns;
		if (!interrupt_sleep_until(next_ns))
			break;
	}
	r = summarise(w, &l, err);
	return r < 0 ? r : CLI_DONE;
}
