/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/agent_countdowns.h"

#include <stddef.h>
#include <stdlib.h>

#include "base/cleanup.h"

struct table {
	uint64_t at;
	size_t n, stride; /* bytes */
};

static int each_of(struct inject *in, const struct table *t, agent_countdowns_fn f, void *arg,
                   struct error *err)
{
	cleanup_free uint8_t *bytes = malloc(t->n * t->stride);
	int r;

	if (!bytes)
		return error_oom(err);
	r = inject_read(in, t->at, bytes, t->n * t->stride, err);
	for (size_t i = 0; r >= 0 && i < t->n; i++) {
		const struct agent_slot *s = (const void *)(bytes + i * t->stride);

		if (s->owner)
			r = f(arg, t->at + i * t->stride, s, err);
	}
	return r < 0 ? r : 0;
}

int agent_countdowns_each(struct inject *in, uint64_t data, agent_countdowns_fn f, void *arg,
                          struct error *err)
{
	const struct table tables[] = {
		{ data + offsetof(struct agent_data, slots), AGENT_SLOTS,
		  sizeof(struct agent_slot) },
		{ data + offsetof(struct agent_data, cpus), AGENT_CPUS, sizeof(struct agent_cpu) },
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(tables); i++)
		r = each_of(in, &tables[i], f, arg, err);
	return r;
}

int agent_countdowns_renew(struct inject *in, uint64_t at, struct error *err)
{
	const uint8_t renew = AGENT_RENEW;

	/* the highest byte of a little-endian number */
	return inject_write(in, at + offsetof(struct agent_slot, left) + sizeof(long long) - 1,
	                    &renew, 1, err);
}
