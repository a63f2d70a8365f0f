/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* memwho TARGET --watch: the ladder again and again, and what grows in it. */

#include "cli/live_ladder.h"
#include "cli/show.h"

struct watch {
	struct show show;
	struct ladder_options ladder;
	double every_s;    /* from look to look */
	double duration_s; /* 0: until Ctrl-C, or until the target ends */
};

/* CLI_DONE, or -errno: when the first look fails. */
int watch_run(const struct watch *w, const pid_t *pids, size_t n, struct error *err);
