/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Carries frames, labels and modules from one profile to another, whose ids
 * differ. Frames are translated once each and remembered.
 */

#include "base/hash.h"
#include "profile/profile.h"

struct copier {
	struct profile *to;
	const struct profile *from;
	uint32_t *frames; /* id in @from -> id in @to + 1; 0: not yet */
	size_t n_frames;
	/* copier_by_name(): where the frames of a function are, if they agree */
	bool by_name;
	struct hash_map lines;
};

int copier_init(struct copier *c, struct profile *to, const struct profile *from,
                struct error *err);
void copier_clear(struct copier *c);
/* From now on frames of one function are one frame: without offset, and with
 * its line only if all of @from's frames of that function have the same. */
int copier_by_name(struct copier *c, struct error *err);

int copier_string(struct copier *c, uint32_t id, uint32_t *ret, struct error *err);
int copier_frame(struct copier *c, uint32_t id, uint32_t *ret, struct error *err);
/* @n frames from @from to @ret, which has room for them. */
int copier_frames(struct copier *c, const uint32_t *from, size_t n, uint32_t *ret,
                  struct error *err);
int copier_label(struct copier *c, const struct profile_label *from, struct profile_label *ret,
                 struct error *err);
int copier_modules(struct copier *c, struct error *err);
