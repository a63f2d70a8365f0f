/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The [trigger]s at work: looks at each target ten times a second, and when a rule
 * fires makes a capture, which goes into the spool with the reason and the
 * baseline to compare it with, and to every [push]. A target under record =
 * always also leaves what it held when it ends.
 */

#include "serve/service.h"

struct alarms;

/* -EINVAL: a rule that is none, with its line. */
int alarms_check(const struct config *c, struct error *err);
int alarms_new(struct service *s, struct alarms **ret, struct error *err);
struct alarms *alarms_free(struct alarms *a);
/* To be called every 100 ms. */
void alarms_run(struct alarms *a);
/* Captures that were due within a cooldown, or above a day's number. */
uint64_t alarms_held_off(const struct alarms *a);
/* Figures of the memory cgroup and the growth of the @index-th target of the configuration, as
 * the last look had them; false: it has no trigger. */
bool alarms_figures(const struct alarms *a, size_t index, struct metrics_page_target *to);
