/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/checks.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/array.h"

int checks_add(struct checks *c, const char *name, enum checks_state state, const char *remedy,
               struct error *err, const char *fmt, ...)
{
	struct checks_item *item;
	va_list ap;
	int r = array_reserve(&c->items, &c->cap, c->n + 1, err);

	if (r < 0)
		return r;
	item = &c->items[c->n++];
	*item = (struct checks_item){ .state = state };
	snprintf(item->name, sizeof(item->name), "%s", name);
	snprintf(item->remedy, sizeof(item->remedy), "%s", remedy);
	va_start(ap, fmt);
	vsnprintf(item->detail, sizeof(item->detail), fmt, ap);
	va_end(ap);
	return 0;
}

void checks_clear(struct checks *c)
{
	free(c->items);
	*c = (struct checks){ 0 };
}

bool checks_usable(const struct checks *c)
{
	for (size_t i = 0; i < c->n; i++) {
		if (c->items[i].state == CHECKS_MISSING)
			return false;
	}
	return true;
}

void checks_soften(struct checks *c, size_t n)
{
	for (size_t i = 0; i < n && i < c->n; i++) {
		if (c->items[i].state == CHECKS_MISSING)
			c->items[i].state = CHECKS_LIMITED;
	}
}

const char *checks_state_name(enum checks_state s)
{
	switch (s) {
	case CHECKS_OK: return "ok";
	case CHECKS_LIMITED: return "limited";
	case CHECKS_MISSING: break;
	}
	return "missing";
}
