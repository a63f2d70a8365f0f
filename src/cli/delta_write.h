/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What delta found, for a terminal and for scripts. */

#include <stdio.h>

#include "base/error.h"
#include "capture/capture_delta.h"

struct delta_write {
	const struct capture_delta *delta;
	const char *command; /* NULL: there was none */
	int command_status;  /* -1: there was none */
};

int delta_write_text(const struct delta_write *w, FILE *to, struct error *err);
int delta_write_json(const struct delta_write *w, FILE *to, struct error *err);
