/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The parts of settings.c. */

#include "map/settings.h"

struct settings {
	const struct target *t;
	struct report *to;
};

/* One more row. */
int settings_add(const struct settings *s, const char *key, const char *value, struct error *err);

int settings_libc_add(const struct settings *s, struct error *err);
int settings_cgroup_add(const struct settings *s, struct error *err);
