/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "inject/all_out.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/cleanup.h"
#include "target/freeze.h"

enum { TIMEOUT_MS = 2000, TRIES = 5, FIRST_PATIENCE_US = 2500 };

struct range {
	const struct target *t;
	uint64_t start, end;
};

static int look(void *arg, pid_t tid, const struct user_regs_struct *regs, struct error *err)
{
	const struct range *x = arg;

	if (held_regs_are_out_of(x->t, regs, x->start, x->end))
		return 0;
	return error_set(err, EBUSY, "thread %d is in a stub", (int)tid);
}

/* One that waits in the kernel, as for a vfork child, would be waited for in vain. */
static bool all_can_stop(const struct target *t)
{
	cleanup_free pid_t *tids = NULL;
	struct error unused;
	size_t n = 0;

	if (target_threads(t, &tids, &n, &unused) < 0)
		return false;
	for (size_t i = 0; i < n; i++) {
		const char state = held_state(t, tids[i]);

		if (!strchr("RSZX", state))
			return false;
	}
	return true;
}

bool all_out_of(const struct target *t, const struct held_limbo *limbo, uint64_t start,
                uint64_t end)
{
	struct range range = { t, start, end };
	struct freeze_work w = { .look = look, .arg = &range, .patience_us = FIRST_PATIENCE_US };
	int r = -EAGAIN;

	for (unsigned i = 0; r == -EAGAIN && i < TRIES && !limbo->n && all_can_stop(t); i++) {
		struct error unused;
		uint64_t ns;

		r = freeze_call(t, TIMEOUT_MS, &w, &ns, &unused);
		w.patience_us *= 2;
	}
	return r == 0;
}
