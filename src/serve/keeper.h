/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Keeps the recordings of targets with record = always: begins one when the
 * target's processes are there, begins anew when they are others, and tries one
 * that failed again, later and later. When a recorded process has ended, what it
 * held at its end goes into the spool first: memwho's tables are not in the
 * process, so that a SIGKILL for want of memory takes none of it away.
 */

#include "serve/service.h"

/* To be called about every second. */
void keeper_run(struct service *s);
