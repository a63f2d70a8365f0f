/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Keeps the recordings of targets with record = always: begins one when the
 * target's processes are there, begins anew when they are others, and tries one
 * that failed again, later and later.
 */

#include "serve/service.h"

/* To be called about every second. */
void keeper_run(struct service *s);
