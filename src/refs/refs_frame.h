/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * A frame of a chain of references as a frame of a profile: of each path in its
 * text only the last part is shown, ".sl *server.Sublist"; the first package that
 * the text names is the frame's module, so that pictures have a colour a package,
 * --by module adds up by it, and two packages of one short name stay two. The
 * surprising rule: what names no package has its type for a module, "[]uint8".
 */

#include <stdint.h>

#include "base/error.h"
#include "profile/profile.h"

int refs_frame(struct profile *to, const char *text, uint32_t *ret, struct error *err);

/* @text with its paths shortened; cut to @size. */
void refs_frame_short(const char *text, char *buf, size_t size);
/* Its module; cut to @size. */
void refs_frame_module(const char *text, char *buf, size_t size);
