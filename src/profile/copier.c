/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "profile/copier.h"

#include <stdlib.h>
#include <string.h>

int copier_init(struct copier *c, struct profile *to, const struct profile *from, struct error *err)
{
	size_t n = profile_n_frames(from);
	uint32_t *frames = calloc(n ? n : 1, sizeof(*frames));

	if (!frames)
		return error_oom(err);
	*c = (struct copier){ .to = to, .from = from, .frames = frames, .n_frames = n };
	return 0;
}

void copier_clear(struct copier *c)
{
	free(c->frames);
	hash_map_clear(&c->lines);
	*c = (struct copier){ 0 };
}

int copier_string(struct copier *c, uint32_t id, uint32_t *ret, struct error *err)
{
	const char *s = profile_text(c->from, id);

	return profile_string(c->to, s, strlen(s), ret, err);
}

/* Of a function in a module. */
static uint64_t function_key(const struct profile_frame *f)
{
	return (uint64_t)f->name << 32 | f->module;
}

int copier_by_name(struct copier *c, struct error *err)
{
	c->by_name = true;
	for (uint32_t id = 0; id < c->n_frames; id++) {
		const struct profile_frame *f = profile_frame_at(c->from, id);
		uint64_t *line = hash_map_get(&c->lines, function_key(f));
		int r = 0;

		if (!line)
			r = hash_map_put(&c->lines, function_key(f), f->line, err);
		else if (*line != f->line)
			*line = 0;
		if (r < 0)
			return r;
	}
	return 0;
}

static void forget_place(const struct copier *c, struct profile_frame *f)
{
	uint64_t *line = hash_map_get(&c->lines, function_key(f));

	f->line = line ? (uint32_t)*line : 0;
	f->offset = f->start = f->size = 0;
	f->inlined = false;
}

int copier_frame(struct copier *c, uint32_t id, uint32_t *ret, struct error *err)
{
	const struct profile_frame *from = profile_frame_at(c->from, id);
	struct profile_frame f = *from;
	uint32_t made;
	int r;

	if (id < c->n_frames && c->frames[id]) {
		*ret = c->frames[id] - 1;
		return 0;
	}
	if (c->by_name && f.name)
		forget_place(c, &f);
	r = copier_string(c, f.name, &f.name, err);
	if (r == 0)
		r = copier_string(c, f.module, &f.module, err);
	if (r == 0)
		r = copier_string(c, f.file, &f.file, err);
	if (r == 0)
		r = profile_frame(c->to, &f, &made, err);
	if (r < 0)
		return r;
	if (id < c->n_frames)
		c->frames[id] = made + 1;
	*ret = made;
	return 0;
}

int copier_frames(struct copier *c, const uint32_t *from, size_t n, uint32_t *ret,
                  struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++)
		r = copier_frame(c, from[i], &ret[i], err);
	return r;
}

int copier_label(struct copier *c, const struct profile_label *from, struct profile_label *ret,
                 struct error *err)
{
	struct profile_label l = *from;
	int r = copier_string(c, from->key, &l.key, err);

	if (r == 0)
		r = copier_string(c, from->text, &l.text, err);
	if (r == 0)
		r = copier_string(c, from->unit, &l.unit, err);
	if (r == 0)
		*ret = l;
	return r;
}

int copier_modules(struct copier *c, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < profile_n_modules(c->from); i++) {
		const struct profile_module *m = profile_module_at(c->from, i);
		uint32_t path, build_id;

		r = copier_string(c, m->path, &path, err);
		if (r == 0)
			r = copier_string(c, m->build_id, &build_id, err);
		if (r == 0)
			r = profile_module_set(c->to, path, build_id, err);
	}
	return r;
}
