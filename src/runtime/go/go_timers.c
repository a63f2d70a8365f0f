/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_timers.h"

#include <stdio.h>
#include <string.h>

#include "runtime/go/go_own.h"

enum { WORD = 8, NAME_BYTES = 512, LEAST_BYTES = 64 /* of a timer */ };

static uint64_t word(const struct go_emit *e, uint64_t at)
{
	return go_objects_word(e->o, at);
}

/* "time.goFunc" calls the func value that is its argument: that one's name says more. */
static void name_of(const struct go_emit *e, uint64_t timer, char *buf, size_t size)
{
	const struct go_layout *l = e->o->module->layout;
	char name[NAME_BYTES];

	go_emit_function(e, word(e, timer + l->timer_f), name, sizeof(name));
	if (!strcmp(name, "time.goFunc")) {
		go_emit_function(e, word(e, timer + l->timer_arg + WORD), name, sizeof(name));
		snprintf(buf, size, "time.AfterFunc %s", name);
	} else if (!strcmp(name, "time.sendTime")) {
		snprintf(buf, size, "time.Timer");
	} else {
		snprintf(buf, size, "%s", name[0] ? name : "timer");
	}
}

static int timer(struct go_emit *e, uint64_t at)
{
	const struct go_layout *l = e->o->module->layout;
	char name[NAME_BYTES + 32], label[NAME_BYTES + 40];
	int r;

	if (!at)
		return 0;
	name_of(e, at, name, sizeof(name));
	r = go_emit_word(e, at, 0, GO_TYPES_PLAIN, name);
	snprintf(label, sizeof(label), "%s.f", name);
	if (r == 0)
		r = go_emit_at(e, at + l->timer_f, GO_TYPES_FUNC, label);
	snprintf(label, sizeof(label), "%s.arg", name);
	return r < 0 ? r : go_emit_at(e, at + l->timer_arg + WORD, GO_TYPES_EFACE, label);
}

int go_timers_each(struct go_emit *e, const struct go_symbols *symbols)
{
	const struct go_layout *l = e->o->module->layout;
	/* a slice of pointers; since 1.23 of pairs of a pointer and a time */
	bool pairs = l->p_timers_heap != GO_LAYOUT_NONE;
	uint64_t slice = pairs ? l->p_timers_heap : l->p_timers;
	uint64_t step = pairs ? l->timer_when_bytes : WORD, from = pairs ? l->timer_when_timer : 0;
	uint64_t n, list = go_own_ps(e->o, symbols, &n), left = e->o->readable / LEAST_BYTES;
	int r = go_emit_root(e, "timers", "timer", OBJECT_TIER_REGISTER);

	for (uint64_t i = 0; r == 0 && list && i < n; i++) {
		uint64_t p = word(e, list + i * WORD);
		uint64_t first = word(e, p + slice), count = word(e, p + slice + WORD);

		if (count > left || count > word(e, p + slice + 2 * WORD))
			continue;
		left -= count;
		for (uint64_t k = 0; r == 0 && k < count; k++)
			r = timer(e, word(e, first + k * step + from));
	}
	return r;
}
