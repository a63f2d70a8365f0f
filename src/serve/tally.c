/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/tally.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/array.h"

enum { MAX_ENTRIES = 4096 };

struct tally_entry {
	char target[SPOOL_NAME_BYTES], trigger[SPOOL_TRIGGER_BYTES];
	const char *outcome;
	uint64_t n;
	char last_id[SPOOL_ID_BYTES];
	double last_unix_s;
};

void tally_clear(struct tally *t)
{
	free(t->entries);
	*t = (struct tally){ 0 };
}

static struct tally_entry *find(struct tally *t, const char *target, const char *trigger,
                                const char *outcome)
{
	struct error ignored;

	for (size_t i = 0; i < t->n; i++) {
		struct tally_entry *e = &t->entries[i];

		if (!strcmp(e->target, target) && !strcmp(e->trigger, trigger) &&
		    !strcmp(e->outcome, outcome))
			return e;
	}
	if (t->n >= MAX_ENTRIES && strcmp(target, "other") != 0)
		return find(t, "other", trigger, outcome);
	if (array_reserve(&t->entries, &t->cap, t->n + 1, &ignored) < 0)
		return NULL;
	t->entries[t->n] = (struct tally_entry){ .outcome = outcome };
	snprintf(t->entries[t->n].target, SPOOL_NAME_BYTES, "%s", target);
	snprintf(t->entries[t->n].trigger, SPOOL_TRIGGER_BYTES, "%s", trigger);
	return &t->entries[t->n++];
}

void tally_add(struct tally *t, const char *target, const char *trigger, const char *outcome,
               const char *id)
{
	struct tally_entry *e = find(t, target, trigger, outcome);

	if (!e)
		return;
	e->n++;
	if (id) {
		snprintf(e->last_id, sizeof(e->last_id), "%s", id);
		e->last_unix_s = (double)time(NULL);
	}
}

int tally_rows(const struct tally *t, struct metrics_page_captures **ret, struct error *err)
{
	struct metrics_page_captures *rows = calloc(t->n + 1, sizeof(*rows));

	if (!rows)
		return error_oom(err);
	for (size_t i = 0; i < t->n; i++) {
		const struct tally_entry *e = &t->entries[i];

		rows[i] = (struct metrics_page_captures){
			.target = e->target,
			.trigger = e->trigger,
			.outcome = e->outcome,
			.n = e->n,
			.last_id = e->last_id[0] ? e->last_id : NULL,
			.last_unix_s = e->last_unix_s,
		};
	}
	*ret = rows;
	return 0;
}
