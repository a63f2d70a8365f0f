/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "capture/capture_delta.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "capture/capture_je.h"
#include "profile/transform.h"

void capture_delta_clear(struct capture_delta *d)
{
	heaps_clear(&d->before);
	heaps_clear(&d->after);
	heaps_close(&d->session);
	profile_free(d->profile_before);
	profile_free(d->profile);
}

static bool has_live(const struct heaps *h)
{
	for (size_t i = 0; i < h->n; i++) {
		if (h->items[i].live_bytes >= 0)
			return true;
	}
	return false;
}

int capture_delta_begin(pid_t pid, bool stop, bool profile, struct capture_delta *d,
                        struct error *err)
{
	struct error ignored;
	int r = heaps_open(pid, &d->session, err);

	if (r == 0 && profile)
		capture_je_own(pid, &d->profile_before, &ignored);

	d->stop = stop;
	if (r == 0)
		r = heaps_read(&d->session, stop, &d->before, err);
	if (r == 0 && !has_live(&d->before)) {
		error_set(err, ENOTSUP,
		          "process %d (%s) has no heap of which memwho knows what is in use",
		          (int)d->session.target->pid, d->session.target->comm);
		return error_hint(err, "memwho %d shows whose its memory is",
		                  (int)d->session.target->pid);
	}
	d->before_ns = clock_now_ns();
	return r;
}

static void compare_profiles(struct capture_delta *d)
{
	cleanup(profile_freep) struct profile *after = NULL;
	struct error ignored;

	if (d->profile_before && capture_je_own(d->session.target->pid, &after, &ignored) > 0)
		transform_diff(d->profile_before, after, NULL, &d->profile, &ignored);
}

int capture_delta_end(struct capture_delta *d, struct error *err)
{
	const struct target *t = d->session.target;
	int r;

	d->after_ns = clock_now_ns();
	if (target_has_ended(t))
		return error_set(err, ESRCH, "process %d (%s) has ended", (int)t->pid, t->comm);
	if (target_has_execed(t))
		return error_set(err, ESTALE, "process %d (%s) runs another program now",
		                 (int)t->pid, t->comm);
	r = heaps_read(&d->session, d->stop, &d->after, err);
	if (r == 0)
		heaps_note_missing(&d->before, &d->after);
	if (r == 0)
		compare_profiles(d);
	return r;
}

int64_t capture_delta_freed(const struct capture_delta *d)
{
	int64_t freed = 0;

	for (size_t i = 0; i < d->before.n; i++) {
		const struct heaps_heap *b = &d->before.items[i],
					*a = heaps_find(&d->after, b->name);

		if (!b->is_inside && b->live_bytes >= 0 && (!a || a->live_bytes >= 0))
			freed += b->live_bytes - (a ? a->live_bytes : 0);
	}
	for (size_t i = 0; i < d->after.n; i++) {
		const struct heaps_heap *a = &d->after.items[i];

		if (!a->is_inside && a->live_bytes >= 0 && !heaps_find(&d->before, a->name))
			freed -= a->live_bytes;
	}
	return freed;
}

int64_t capture_delta_could_trim(const struct capture_delta *d)
{
	int64_t sum = -1;

	for (size_t i = 0; i < d->after.n; i++) {
		const int64_t v = d->after.items[i].could_trim_bytes;

		if (v >= 0)
			sum = sum < 0 ? v : sum + v;
	}
	return sum;
}
