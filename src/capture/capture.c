/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "capture/capture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "capture/growth.h"

enum { POLL_MS = 100 };

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
	uint64_t begun_ns, looked_ns, told_ns;
	struct profile *previous;
};

static bool is_reached(const struct capturing *c)
{
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

static int look(struct capturing *c, uint64_t now, struct error *err)
{
	cleanup(profile_freep) struct profile *p = NULL;
	cleanup(profile_freep) struct profile *grown = NULL;
	int r;

	if (!c->o->every_s || !c->o->look || (double)(now - c->looked_ns) < c->o->every_s * 1e9)
		return 0;
	c->looked_ns = now;
	r = alloc_result(c->recorder, ALLOC_RUNNING, &c->o->filter, &p, err);
	if (r == 0)
		r = growth_make(c->previous, p, &grown, err);
	if (r == 0)
		r = c->o->look(c->o->arg, grown, err);
	if (r < 0)
		return r;
	profile_free(c->previous);
	c->previous = take_ptr(p);
	return 0;
}

static void tell_progress(struct capturing *c, uint64_t now)
{
	if (!c->o->progress || now - c->told_ns < 1000000000ULL)
		return;
	c->told_ns = now;
	c->o->progress(c->o->arg, (double)(now - c->begun_ns) / 1e9, alloc_held_bytes(c->recorder));
}

/* How long the next poll may take. */
static int poll_ms(const struct capturing *c, uint64_t now)
{
	double left = c->o->duration_s * 1e3 - (double)(now - c->begun_ns) / 1e6;

	if (!c->o->duration_s || left > POLL_MS)
		return POLL_MS;
	return left < 0 ? 0 : (int)left + 1;
}

static enum alloc_ended why_now(const struct capturing *c, uint64_t now)
{
	if (alloc_interrupted)
		return ALLOC_ENDED_SIGNAL;
	if (c->o->duration_s && (double)(now - c->begun_ns) >= c->o->duration_s * 1e9)
		return ALLOC_ENDED_DURATION;
	return is_reached(c) ? ALLOC_ENDED_CONDITION : ALLOC_RUNNING;
}

static int wait_for_end(struct capturing *c, enum alloc_ended *ended, struct error *err)
{
	for (;;) {
		uint64_t now = clock_now_ns();
		int r;

		*ended = why_now(c, now);
		if (*ended)
			return 0;
		r = alloc_poll(c->recorder, poll_ms(c, now), ended, err);
		if (r < 0 || *ended)
			return r;
		now = clock_now_ns();
		tell_progress(c, now);
		r = look(c, now, err);
		if (r < 0)
			return r;
	}
}

static int record(struct capturing *c, struct profile **ret, struct error *err)
{
	enum alloc_ended ended = ALLOC_RUNNING;
	int r = 0;

	c->begun_ns = c->looked_ns = c->told_ns = clock_now_ns();
	if (c->o->begun)
		r = c->o->begun(c->o->arg, err);
	if (r == 0)
		r = capture_make_ready_file(c->o->ready_file, err);
	if (r == 0)
		r = wait_for_end(c, &ended, err);
	if (r < 0)
		return r;
	return alloc_result(c->recorder, ended, &c->o->filter, ret, err);
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
	return r;
}
