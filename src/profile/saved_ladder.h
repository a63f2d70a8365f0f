/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * A ladder that was saved as JSON (render/ladder_json.h), also on another
 * machine, as the profile that map/ladder.h describes. The surprising rule:
 * figures of ours that can be made from the rows again are not taken from the
 * file.
 */

#include <stdbool.h>
#include <stddef.h>

#include "profile/profile.h"

/* Could this text be one? It begins as ours do. */
bool saved_ladder_is(const char *text, size_t len);

/* -EBADMSG: no JSON, no ladder; -EFBIG: more than 64 MiB. */
int saved_ladder_parse(const char *text, size_t len, struct profile **ret, struct error *err);
