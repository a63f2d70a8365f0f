/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "render/legend.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/hash.h"
#include "render/colour.h"
#include "render/escape.h"

enum {
	CHIP_PX = 12,
	CHAR_PX = 7, /* of the small sans font, on average */
	NAME_CHARS = 32,
	SHADE = 1,
};

struct area {
	uint32_t module;
	double sum;
};

struct areas {
	struct area *items;
	size_t n, cap;
	struct hash_map ids; /* module's string id -> index */
};

static void areas_clear(struct areas *a)
{
	free(a->items);
	hash_map_clear(&a->ids);
}

static int add_area(struct areas *a, uint32_t module, double value, struct error *err)
{
	uint64_t *hit = hash_map_get(&a->ids, module);
	int r;

	if (hit) {
		a->items[*hit].sum += value;
		return 0;
	}
	r = array_reserve(&a->items, &a->cap, a->n + 1, err);
	if (r == 0)
		r = hash_map_put(&a->ids, module, a->n, err);
	if (r == 0)
		a->items[a->n++] = (struct area){ module, value };
	return r;
}

static int by_sum(const void *a, const void *b)
{
	const struct area *x = a, *y = b;

	if (x->sum != y->sum)
		return x->sum < y->sum ? 1 : -1;
	return (x->module > y->module) - (x->module < y->module);
}

static int collect(const struct tree *t, struct areas *a, struct error *err)
{
	for (size_t i = 1; i < t->n_nodes; i++) {
		const struct tree_func *f = &t->funcs[t->nodes[i].func];
		const struct profile_frame *frame = profile_frame_at(t->v->p, f->frame);
		int r = add_area(a, frame->module, (double)t->nodes[i].value, err);

		if (r < 0)
			return r;
	}
	if (a->n)
		qsort(a->items, a->n, sizeof(*a->items), by_sum);
	return 0;
}

/* Returns the pixels it took. */
static int put_chip(FILE *to, int x, int y, unsigned colour, const char *text, size_t max_chars)
{
	size_t n = escape_width(text);

	fprintf(to, "<rect class=\"c%u\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"2\"/>",
	        colour, x, y, CHIP_PX, CHIP_PX);
	fprintf(to, "<text class=\"m\" x=\"%d\" y=\"%d\">", x + CHIP_PX + 5, y + 10);
	escape_xml(to, text, max_chars);
	fputs("</text>\n", to);
	return CHIP_PX + 5 + (int)(n < max_chars ? n : max_chars) * CHAR_PX + 14;
}

static int put_modules(const struct tree *t, FILE *to, int x, int y, int width, bool *used,
                       struct error *err)
{
	cleanup(areas_clear) struct areas a = { 0 };
	int right = x + width, r = collect(t, &a, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < a.n; i++) {
		struct profile_frame f = { .module = a.items[i].module };
		const char *name = view_module_name(t->v->p, &f);
		unsigned colour = colour_class(name, "", true) / COLOUR_SHADES * COLOUR_SHADES +
		                  SHADE;

		if (x + CHIP_PX + NAME_CHARS * CHAR_PX > right)
			break;
		x += put_chip(to, x, y, colour, *name ? name : "no module", NAME_CHARS);
		used[colour] = true;
	}
	return 0;
}

static void put_diff(FILE *to, int x, int y, bool *used)
{
	static const struct {
		int step;
		const char *text;
	} chips[] = {
		{ -COLOUR_DIFF_STEPS, "shrank most" },
		{ -COLOUR_DIFF_STEPS / 3, "shrank" },
		{ 0, "as before" },
		{ COLOUR_DIFF_STEPS / 3, "grew" },
		{ COLOUR_DIFF_STEPS, "grew most" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(chips); i++) {
		unsigned colour = (unsigned)(COLOUR_DIFF + COLOUR_DIFF_STEPS + chips[i].step);

		x += put_chip(to, x, y, colour, chips[i].text, NAME_CHARS);
		used[colour] = true;
	}
}

int legend_height(const struct tree *t)
{
	return t->n_nodes > 1 ? LEGEND_ROW_PX : 0;
}

int legend_write(const struct tree *t, FILE *to, int x, int y, int width, bool *used,
                 struct error *err)
{
	if (t->n_nodes <= 1)
		return 0;
	fputs("<g id=\"legend\">\n", to);
	if (t->is_diff) {
		put_diff(to, x, y, used);
	} else {
		int r = put_modules(t, to, x, y, width, used, err);

		if (r < 0)
			return r;
	}
	fputs("</g>\n", to);
	return 0;
}
