/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* "Did you mean ...?": the name that was probably meant. */

#include <stddef.h>

struct nearest {
	const char *typed;
	const char *name; /* NULL while nothing is near enough */
	unsigned distance;
};

struct nearest nearest_to(const char *typed);
/* Remember @name if it is nearer than what is known so far. */
void nearest_offer(struct nearest *n, const char *name);
