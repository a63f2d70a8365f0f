/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "inject/still.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/precedence.h"
#include "base/steps.h"
#include "inject/others.h"
#include "inject/transaction.h"

enum { LATE_NAP_NS = 200000 };

/* Nobody but the one that is lent can change anything now, if nobody was missed: who waits in the
 * kernel may be in the middle of a change. */
static int all_but_one(struct inject *in, pid_t lent, struct others *others,
                       int (*may)(void *arg, struct error *err), void *arg, struct error *err)
{
	int r = others_stop(in->target, lent, others, err);

	if (r == 0 && others->n_missed)
		r = error_set(err, EAGAIN, "threads of process %d could not be stopped",
		              (int)in->target->pid);
	return r == 0 ? may(arg, err) : r;
}

/* Who was asked and comes late is let go as soon as it stops, and is in no next one's way. */
static void await_late(struct inject *in)
{
	const uint64_t until = clock_now_ns() + HELD_STOP_MS * 1000000ull;

	while (!held_settle(&in->limbo) && clock_now_ns() < until) {
		steps_before("wait");
		nanosleep(&(struct timespec){ 0, LATE_NAP_NS }, NULL);
	}
}

int still_calls(struct inject *in, const struct inject_call *calls, const int64_t *expected,
                size_t n, unsigned patience_ms, int (*may)(void *arg, struct error *err), void *arg,
                int64_t *ret, struct error *err)
{
	cleanup(others_release) struct others others = {
		.limbo = &in->limbo, .patience_ms = patience_ms ? patience_ms : HELD_STOP_MS
	};
	struct stub_call made[STILL_MAX_CALLS] = { 0 };
	struct precedence before;
	uint64_t start;
	struct stub stub;
	struct held h;
	uint64_t slot;
	int r = n > ARRAY_SIZE(made) ? error_set(err, E2BIG, "too many calls at once")
	                             : transaction_begin(in, false, &h, &slot, err);

	if (r < 0)
		return r;
	start = clock_now_ns();
	precedence_take(&before);
	r = all_but_one(in, h.tid, &others, may, arg, err);
	if (r < 0) {
		held_release(&in->limbo, &h);
		others_release(&others);
		precedence_give_back(&before);
		inject_note_still(in, clock_now_ns() - start);
		await_late(in);
		return r;
	}
	for (size_t i = 0; i < n; i++) {
		made[i].function = (uint64_t)calls[i].number;
		memcpy(made[i].args, calls[i].args, sizeof(made[i].args));
	}
	in->journal.new_mask = ~0ull;
	in->journal.result = 0;
	stub_syscalls(&stub, in->area, made, expected, n, &h.back);
	r = transaction_run(in, &h, slot, &stub, err);
	others_release(&others);
	precedence_give_back(&before);
	inject_note_still(in, clock_now_ns() - start);
	if (r == 0)
		*ret = (int64_t)in->journal.result;
	return r;
}
