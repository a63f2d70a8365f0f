/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "map/tracer_result.h"

int tracer_before_begin(struct tracer_filling *f, struct tracer_process *p, struct error *err)
{
	return 0;
}

int tracer_before_frames(struct tracer_filling *f, struct tracer_process *p, const struct range *r,
                         u32 *ids, struct error *err)
{
	int rc = profile_frame_named(f->profile, tracer_kind_text(r->owner.kind), &ids[0], err);

	return rc < 0 ? rc : 1;
}

void tracer_before_end(struct tracer_filling *f)
{
}
