/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/bpf_way.h"

#include <errno.h>
#include <unistd.h>

#include "alloc/agent_place.h"
#include "base/clock.h"
#include "base/log.h"

#define PATIENCE_NS 2000000000ull /* other commands hold a process for a moment */

enum { NAP_US = 20000 };

static int clear(const struct target *t, struct error *err)
{
	struct error ignored;
	int r = agent_place_clean(t, err);

	if (r > 0) {
		inject_clean(t, &ignored);
		log_note(LOG_INFO,
		         "process %d: an agent of memwho's that nobody reads is taken out of the "
		         "allocator's code",
		         (int)t->pid);
	}
	/* nor can the other engine come in: its own hint does not help */
	if (r < 0)
		err->hint[0] = '\0';
	return r;
}

int bpf_way_clear(const struct target *t, struct lock *ret, struct error *err)
{
	const uint64_t until = clock_now_ns() + PATIENCE_NS;
	bool cleared = false;

	*ret = LOCK_NONE;
	for (;;) {
		int r = clear(t, err);

		if (r < 0)
			return r;
		cleared |= r > 0;
		r = lock_take(t, ret, err);
		if (r < 0 && (r != -EBUSY || clock_now_ns() > until))
			return r;
		/* somebody may have come between the two */
		if (r == 0)
			r = agent_place_in_use(t, err);
		if (r == 0)
			return cleared;
		lock_give(ret);
		if (r < 0 && r != -EBUSY)
			return r;
		usleep(NAP_US);
	}
}
