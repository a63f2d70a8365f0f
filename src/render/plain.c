/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/cleanup.h"
#include "profile/folded.h"
#include "profile/heap_v2.h"
#include "profile/pprof.h"
#include "render/formats.h"
#include "render/view.h"

int plain_write_folded(const struct profile *p, const struct render_options *o, FILE *to,
                       struct error *err)
{
	cleanup(view_clear) struct view v = { 0 };
	int r = view_make(p, o, VIEW_REVERSE, &v, err);

	if (r == 0)
		r = folded_write(v.p, (int)v.type, to, err);
	return r < 0 ? r : render_check(to, err);
}

int plain_write_stap(const struct profile *p, const struct render_options *o, FILE *to,
                     struct error *err)
{
	cleanup(view_clear) struct view v = { 0 };
	int r = view_make(p, o, VIEW_REVERSE, &v, err);

	if (r == 0)
		r = folded_write_stap(v.p, (int)v.type, to, err);
	return r < 0 ? r : render_check(to, err);
}

/* A saved profile keeps the true direction of its stacks: no VIEW_REVERSE. */
int plain_write_pprof(const struct profile *p, const struct render_options *o, FILE *to,
                      struct error *err)
{
	cleanup(view_clear) struct view v = { 0 };
	int r = view_make(p, o, 0, &v, err);

	if (r == 0)
		r = pprof_write(v.p, to, err);
	return r < 0 ? r : render_check(to, err);
}

int plain_write_heap(const struct profile *p, const struct render_options *o, FILE *to,
                     struct error *err)
{
	cleanup(view_clear) struct view v = { 0 };
	int r = view_make(p, o, 0, &v, err);

	if (r == 0)
		r = heap_v2_write(v.p, to, err);
	return r < 0 ? r : render_check(to, err);
}
