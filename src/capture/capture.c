/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "capture/capture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "capture/growth.h"
#include "capture/pace.h"

/* ---- condition ---- */

static int parse_bytes(const char *text, unsigned long long *ret)
{
	static const char units[] = "KMGT";
	unsigned long long v, factor = 1;
	const char *unit;
	char *end;

	if (*text < '0' || *text > '9')
		return -1;
	errno = 0;
	v = strtoull(text, &end, 10);
	unit = *end ? strchr(units, *end & ~0x20) : NULL;
	if (unit) {
		factor = 1ULL << (10 * (unit - units + 1));
		end++;
		if (!strcmp(end, "B") || !strcmp(end, "iB"))
			end += strlen(end);
	}
	if (errno || *end || __builtin_mul_overflow(v, factor, &v))
		return -1;
	*ret = v;
	return 0;
}

int capture_condition_parse(const char *text, struct capture_condition *ret, struct error *err)
{
	struct capture_condition c = { 0 };
	size_t name = strcspn(text, "<>");

	if (name == 3 && !strncmp(text, "rss", 3))
		c.quantity = CAPTURE_RSS;
	else if (name == 4 && !strncmp(text, "held", 4))
		c.quantity = CAPTURE_HELD;
	if (!c.quantity || !text[name] || parse_bytes(text + name + 1, &c.bytes) < 0) {
		error_set(err, EINVAL, "'%s' is not a condition", text);
		return error_hint(err, "write rss>2G or held>100M");
	}
	c.below = text[name] == '<';
	*ret = c;
	return 0;
}

static unsigned long long rss_bytes(pid_t pid)
{
	unsigned long size, resident = 0;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/statm", pid);
	cleanup_fclose FILE *f = fopen(path, "re");
	if (!f || fscanf(f, "%lu %lu", &size, &resident) != 2)
		return 0;
	return (unsigned long long)resident * sysconf(_SC_PAGESIZE);
}

struct capturing {
	const struct capture_options *o;
	const pid_t *pids;
	size_t n_pids;
	struct alloc_recorder *recorder;
	enum alloc_ended ended;
	struct profile *first, *previous; /* previous: of the last look, NULL: the first */
};

static bool is_reached(void *arg)
{
	const struct capturing *c = arg;
	const struct capture_condition *until = &c->o->until;
	unsigned long long v = 0;

	if (until->quantity == CAPTURE_NOTHING)
		return false;
	if (until->quantity == CAPTURE_HELD)
		v = alloc_held_bytes(c->recorder);
	for (size_t i = 0; until->quantity == CAPTURE_RSS && i < c->n_pids; i++)
		v += rss_bytes(c->pids[i]);
	return until->below ? v < until->bytes : v > until->bytes;
}

/* ---- while it runs ---- */

int capture_make_ready_file(const char *path, struct error *err)
{
	cleanup_close int fd = -1;

	if (!path)
		return 0;
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	return fd < 0 ? error_sys(err, errno, "cannot create %s", path) : 0;
}

static int poll_recorder(void *arg, int ms, struct error *err)
{
	struct capturing *c = arg;
	int r = alloc_poll(c->recorder, ms, &c->ended, err);

	return r < 0 ? r : c->ended != ALLOC_RUNNING;
}

static int look(void *arg, struct error *err)
{
	cleanup(profile_freep) struct profile *p = NULL;
	cleanup(profile_freep) struct profile *grown = NULL;
	struct capturing *c = arg;
	int r;

	if (!c->o->look)
		return 0;
	r = alloc_result(c->recorder, ALLOC_RUNNING, &c->o->filter, &p, err);
	if (r == 0)
		r = growth_make(c->previous ? c->previous : c->first, p, &grown, err);
	if (r == 0)
		r = c->o->look(c->o->arg, grown, err);
	if (r < 0)
		return r;
	profile_free(c->previous);
	c->previous = take_ptr(p);
	return 0;
}

static void tell_progress(void *arg, double seconds)
{
	const struct capturing *c = arg;

	if (c->o->progress)
		c->o->progress(c->o->arg, seconds, alloc_held_bytes(c->recorder));
}

static int wait_for_end(struct capturing *c, struct pace *pace, struct error *err)
{
	static const enum alloc_ended ended[] = {
		[PACE_BY_SIGNAL] = ALLOC_ENDED_SIGNAL,
		[PACE_BY_DURATION] = ALLOC_ENDED_DURATION,
		[PACE_BY_CONDITION] = ALLOC_ENDED_CONDITION,
	};
	int r = pace_run(pace, err);

	if (r > 0)
		c->ended = ended[r];
	return r < 0 ? r : 0;
}

static int result_at_end(struct capturing *c, struct profile **ret, struct error *err)
{
	cleanup(profile_freep) struct profile *p = NULL;
	int r = alloc_result(c->recorder, c->ended, &c->o->filter, &p, err);

	if (r < 0)
		return r;
	if (c->o->grown)
		return growth_make(c->first, p, ret, err);
	*ret = take_ptr(p);
	return 0;
}

static int record(struct capturing *c, struct profile **ret, struct error *err)
{
	struct pace pace = {
		.duration_s = c->o->duration_s,
		.every_s = c->o->every_s,
		.poll = poll_recorder,
		.look = look,
		.progress = tell_progress,
		.is_reached = is_reached,
		.arg = c,
	};
	int r = 0;

	pace_begin(&pace);
	if (c->o->begun)
		r = c->o->begun(c->o->arg, err);
	/* what is there already has not grown */
	if (r == 0 && c->o->every_s > 0 && c->o->look)
		r = alloc_result(c->recorder, ALLOC_RUNNING, &c->o->filter, &c->first, err);
	if (r == 0)
		r = capture_make_ready_file(c->o->ready_file, err);
	if (r == 0)
		r = wait_for_end(c, &pace, err);
	if (r < 0)
		return r;
	return result_at_end(c, ret, err);
}

int capture_alloc(const pid_t *pids, size_t n_pids, const struct capture_options *o,
                  struct profile **ret, struct error *err)
{
	cleanup(alloc_freep) struct alloc_recorder *recorder = NULL;
	struct capturing c = { .o = o, .pids = pids, .n_pids = n_pids };
	int r = alloc_start(pids, n_pids, &o->alloc, o->started_stopped, &recorder, err);

	if (r < 0)
		return r;
	c.recorder = recorder;
	r = record(&c, ret, err);
	profile_free(c.previous);
	profile_free(c.first);
	return r;
}
