/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "profile/profile.h"

/* @now with one more value type, "growth_space": bytes held now less bytes held
 * in @before, sample by sample. A sample that has gone is there with nothing
 * held. @before NULL: everything has grown. Frames, report and time are @now's. */
int growth_make(const struct profile *before, const struct profile *now, struct profile **ret,
                struct error *err);
