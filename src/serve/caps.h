/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Give up every capability that neither we nor our workers need. The list is in
 * caps.c, with what each is for; docs/serve.md and the unit have the same one.
 */

#include "base/error.h"

/* For good: the bounding set, too, so that a worker cannot get one back by exec. */
int caps_drop(struct error *err);
