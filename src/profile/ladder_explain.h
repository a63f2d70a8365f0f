/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What links a difference of two ladders to a setting that differs, too. A rule
 * speaks only when both are there, and the setting is known to act on just that
 * row; what merely differs at the same time is not put together.
 */

#include "profile/ladder_diff.h"

/* The table "explanations" {text, kind, setting, bytes} of @to, from @to's
 * "settings" and the rows. */
int ladder_explain_add(struct report *to, const struct ladder_changes *changes, struct error *err);
