/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Two folders of captures, as `memwho serve` keeps them (SPOOL/TARGET/TIME-NUMBER-TRIGGER.pb.gz),
 * here or copied from other machines. What is compared is the newest capture of each that goes
 * together: the same value, and the same build of the program, by its build id. Without such a
 * pair the newest two of the same value, with a remark.
 */

#include <stdbool.h>

#include "base/error.h"
#include "profile/profile.h"

bool diff_spool_is(const char *word); /* a folder */
/* @before or @after may be no folder: then *ret_... of it is given, and what goes with it is
 * looked for. A spool with several targets: -EINVAL, the message lists them. */
int diff_spool_read(const char *before, const char *after, struct profile **ret_before,
                    struct profile **ret_after, struct error *err);
