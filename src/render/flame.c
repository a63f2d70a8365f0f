/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Flame graph as SVG. It has to be right without its script (inside an <img>,
 * in a viewer): geometry, labels and colours are all in the elements, and what
 * the script needs to lay them out anew stands in data-v. Labels are cut here
 * by the width of a monospace font.
 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "flame_css_dark.h"
#include "flame_css_light.h"
#include "flame_js.h"
#include "render/colour.h"
#include "render/escape.h"
#include "render/figures.h"
#include "render/formats.h"
#include "render/interval_text.h"
#include "render/ladder_picture.h"
#include "render/legend.h"
#include "render/tree.h"
#include "render/units.h"

enum {
	WIDTH = 1200,
	PAD = 12,
	ROW = 18,
	TOP = 96, /* title, amount, trust, details */
	FOOT = 14,
	MAX_FRAMES = 20000, /* drawn, unless --min-width is given: browsers get slow */
	TEXT_CHARS = 170,   /* of a line above or below the frames */
	NAME_CHARS = 4096,  /* of a tooltip */
};

static const double default_min_px = 0.1;
static const double char_px = 7.3; /* 12 px monospace; see flame.css */

struct flame {
	const struct tree *t;
	const struct view *v;
	FILE *to;
	bool inverted;
	double min_px;
	int64_t min_value; /* nodes below are not drawn */
	int64_t most_delta;
	size_t n_hidden;
	int64_t hidden_value;
	uint32_t depth; /* deepest drawn */
	int height;
	bool used[COLOUR_CLASSES];
};

static int64_t total_of(const struct flame *f)
{
	return f->t->nodes[0].value;
}

static double px(const struct flame *f, int64_t value)
{
	return total_of(f) ? (double)value / (double)total_of(f) * (WIDTH - 2 * PAD) : 0;
}

static int descending(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x < y) - (x > y);
}

/* Without a wish of the user: 0.1 px, or more if that is more frames than a
 * browser likes. */
static int choose_min_width(struct flame *f, double wish, struct error *err)
{
	const struct tree *t = f->t;
	cleanup_free int64_t *values = NULL;
	double per_px = (double)total_of(f) / (WIDTH - 2 * PAD);

	f->min_px = wish < 0 ? default_min_px : wish;
	f->min_value = f->min_px * per_px < 9e18 ? (int64_t)(f->min_px * per_px) : INT64_MAX;
	if (wish < 0 && t->n_nodes > MAX_FRAMES) {
		values = malloc(t->n_nodes * sizeof(*values));
		if (!values)
			return error_oom(err);
		for (size_t i = 0; i < t->n_nodes; i++)
			values[i] = t->nodes[i].value;
		qsort(values, t->n_nodes, sizeof(*values), descending);
		if (values[MAX_FRAMES] >= f->min_value) {
			f->min_value = view_add(values[MAX_FRAMES], 1);
			f->min_px = px(f, f->min_value);
		}
	}
	return 0;
}

static bool is_drawn(const struct flame *f, const struct tree_node *n)
{
	return n->value >= f->min_value && n->value > 0;
}

static void measure(struct flame *f)
{
	const struct tree *t = f->t;

	for (size_t i = 1; i < t->n_nodes; i++) {
		const struct tree_node *n = &t->nodes[i];

		if (is_drawn(f, n)) {
			int64_t delta = llabs(view_subtract(n->after, n->before));

			f->depth = n->depth > f->depth ? n->depth : f->depth;
			f->most_delta = delta > f->most_delta ? delta : f->most_delta;
			continue;
		}
		f->n_hidden++;
		if (is_drawn(f, &t->nodes[n->parent]))
			f->hidden_value = view_add(f->hidden_value, n->value);
	}
	f->height = TOP + (int)(f->depth + 1) * ROW + FOOT + legend_height(t) +
	            (f->n_hidden || t->n_left_out ? LEGEND_ROW_PX : 0);
}

static int row_y(const struct flame *f, uint32_t depth)
{
	return TOP + (int)(f->inverted ? depth : f->depth - depth) * ROW;
}

static unsigned node_colour(const struct flame *f, const struct tree_node *n)
{
	const struct profile_frame *frame;
	const struct tree_func *func;

	if (f->t->is_diff)
		return colour_diff_class(view_subtract(n->after, n->before), f->most_delta);
	if (n->depth == 0)
		return COLOUR_SHADES / 2;
	func = &f->t->funcs[n->func];
	frame = profile_frame_at(f->v->p, func->frame);
	return colour_class(view_module_name(f->v->p, frame), tree_text(f->t, func),
	                    frame->name != 0);
}

/* Second line of the tooltip: "libc.so.6 · 12.3 MiB · 4.5 % · 1,234 blocks"; a third one
 * for an estimate. */
static void put_numbers(const struct flame *f, const struct tree_node *n)
{
	char a[UNITS_BYTES], b[UNITS_BYTES], c[UNITS_BYTES];
	char text[INTERVAL_TEXT_BYTES];
	bool is_bytes = f->v->is_bytes;

	if (f->t->is_diff) {
		fprintf(f->to, "%s before, %s after: %s",
		        units_value(n->before, is_bytes, false, a, sizeof(a)),
		        units_value(n->after, is_bytes, false, b, sizeof(b)),
		        units_value(view_subtract(n->after, n->before), is_bytes, true, c,
		                    sizeof(c)));
		return;
	}
	fprintf(f->to, "%s \xc2\xb7 %s", units_value(n->value, is_bytes, false, a, sizeof(a)),
	        units_percent((double)n->value, (double)total_of(f), b, sizeof(b)));
	if (f->v->count >= 0 && f->v->count != (int)f->v->type)
		fprintf(f->to, " \xc2\xb7 %s block%s", units_count(n->count, c, sizeof(c)),
		        n->count == 1 ? "" : "s");
	if (n->sum.samples > 0)
		fprintf(f->to, "\n%s", interval_text(&n->sum, is_bytes, text, sizeof(text)));
}

static void put_title(const struct flame *f, const struct tree_node *n, const char *text)
{
	const char *module = "";

	if (n->depth)
		module = view_module_name(f->v->p,
		                          profile_frame_at(f->v->p, f->t->funcs[n->func].frame));
	fputs("<title>", f->to);
	escape_xml(f->to, text, NAME_CHARS);
	fputc('\n', f->to);
	if (*module) {
		escape_xml(f->to, module, 200);
		fputs(" \xc2\xb7 ", f->to);
	}
	put_numbers(f, n);
	fputs("</title>", f->to);
}

static void put_label(const struct flame *f, double x, int y, double width, const char *text)
{
	int chars = (int)((width - 5) / char_px);

	if (chars < 3)
		return;
	fprintf(f->to, "<text x=\"%.1f\" y=\"%d\">", x + 3, y + 13);
	escape_xml(f->to, text, (size_t)chars);
	fputs("</text>", f->to);
}

static void put_frame(struct flame *f, const struct tree_node *n)
{
	const char *text = n->depth ? tree_text(f->t, &f->t->funcs[n->func]) : "all";
	double x = PAD + px(f, n->left), width = px(f, n->value);
	unsigned colour = node_colour(f, n);
	int y = row_y(f, n->depth);

	f->used[colour] = true;
	fprintf(f->to, "<g data-v=\"%lld,%lld,%u\">", (long long)n->left, (long long)n->value,
	        n->depth);
	put_title(f, n, *text ? text : "[unknown]");
	/* half a pixel between neighbours, where there is room for it */
	fprintf(f->to, "<rect class=\"c%u\" x=\"%.2f\" y=\"%d\" width=\"%.2f\" height=\"%d\"%s/>",
	        colour, x, y, width > 2 ? width - 0.5 : width, ROW - 1,
	        width > 6 ? " rx=\"2\"" : "");
	put_label(f, x, y, width, *text ? text : "[unknown]");
	fputs("</g>\n", f->to);
}

static void put_text(const struct flame *f, const char *id, const char *class_name, int y,
                     const char *text, size_t max_chars)
{
	fprintf(f->to, "<text id=\"%s\" class=\"%s\" x=\"%d\" y=\"%d\">", id, class_name, PAD, y);
	escape_xml(f->to, text, max_chars);
	fputs("</text>\n", f->to);
}

static void put_head(const struct flame *f, const char *title)
{
	char amount[FIGURES_BYTES], trust[FIGURES_BYTES];
	bool warn;

	figures_amount(f->v, amount, sizeof(amount));
	figures_trust(f->v, trust, sizeof(trust), &warn);
	put_text(f, "title", "t", 28, title, 90);
	put_text(f, "amount", "m", 48, amount, TEXT_CHARS);
	put_text(f, "trust", warn ? "w" : "m", 65, trust, TEXT_CHARS);
	put_text(f, "details", "d", 86, "", TEXT_CHARS);
}

static void put_note(const struct flame *f, int y)
{
	char n[UNITS_BYTES], value[UNITS_BYTES], share[UNITS_BYTES], text[200] = "";

	if (f->n_hidden)
		snprintf(text, sizeof(text),
		         "Not drawn: %s frame%s narrower than %.2g px (%s, %s of the width)",
		         units_count((int64_t)f->n_hidden, n, sizeof(n)),
		         f->n_hidden == 1 ? "" : "s", f->min_px,
		         units_value(f->hidden_value, f->v->is_bytes, false, value, sizeof(value)),
		         units_percent((double)f->hidden_value, (double)total_of(f), share,
		                       sizeof(share)));
	if (f->t->n_left_out)
		snprintf(text + strlen(text), sizeof(text) - strlen(text),
		         "%s%zu stacks with a negative value",
		         *text ? "; " : "Not drawn: ", f->t->n_left_out);
	if (*text)
		put_text(f, "note", "m", y + 10, text, TEXT_CHARS);
}

static void put_colours(const struct flame *f, bool dark)
{
	char hex[8];

	for (unsigned i = 0; i < COLOUR_CLASSES; i++) {
		if (f->used[i])
			fprintf(f->to, ".c%u{fill:%s}", i, colour_hex(i, dark, hex));
	}
	fputc('\n', f->to);
}

/* Last, when it is known which classes there are; a style element counts
 * wherever it stands. */
static void put_style(const struct flame *f)
{
	fprintf(f->to, "<style>\n%s", flame_css_light);
	put_colours(f, false);
	fprintf(f->to, "@media (prefers-color-scheme: dark){\n%s", flame_css_dark);
	put_colours(f, true);
	fputs("}\n</style>\n", f->to);
}

static void put_open(const struct flame *f, const char *title)
{
	fprintf(f->to,
	        "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"no\"?>\n"
	        "<svg xmlns=\"http://www.w3.org/2000/svg\" version=\"1.1\" width=\"%d\" "
	        "height=\"%d\" viewBox=\"0 0 %d %d\" class=\"flame\" data-pad=\"%d\" "
	        "data-row=\"%d\" data-top=\"%d\" data-inverted=\"%d\" data-depth=\"%u\">\n<title>",
	        WIDTH, f->height, WIDTH, f->height, PAD, ROW, TOP, f->inverted, f->depth);
	escape_xml(f->to, title, 500);
	fputs("</title>\n", f->to);
	fprintf(f->to, "<rect class=\"bg\" width=\"100%%\" height=\"%d\"/>\n", f->height);
}

static int put_picture(struct flame *f, const char *title, struct error *err)
{
	int y = TOP + (int)(f->depth + 1) * ROW + FOOT, r;

	put_open(f, title);
	fputs("<g id=\"frames\">\n", f->to);
	for (size_t i = 0; i < f->t->n_nodes; i++) {
		if (is_drawn(f, &f->t->nodes[i]))
			put_frame(f, &f->t->nodes[i]);
	}
	fputs("</g>\n", f->to);
	if (!total_of(f))
		put_text(f, "empty", "d", TOP + 13, "Nothing to draw: no stack has a value.",
		         TEXT_CHARS);
	r = legend_write(f->t, f->to, PAD, y, WIDTH - 2 * PAD, f->used, err);
	if (r < 0)
		return r;
	put_note(f, y + legend_height(f->t));
	fputs("<g id=\"head\">\n", f->to);
	put_head(f, title);
	fputs("</g>\n", f->to);
	put_style(f);
	fprintf(f->to, "<script><![CDATA[\n%s]]></script>\n</svg>\n", flame_js);
	return 0;
}

static int draw(struct flame *f, const struct render_options *o, struct error *err)
{
	char title[FIGURES_BYTES];
	int r = choose_min_width(f, o ? o->min_width : -1, err);

	if (r < 0)
		return r;
	measure(f);
	return put_picture(f, figures_title(f->v, o, title, sizeof(title)), err);
}

static int write_profile(const struct profile *p, const struct render_options *o, FILE *to,
                         struct error *err)
{
	cleanup(view_clear) struct view v = { 0 };
	cleanup(tree_clear) struct tree t = { 0 };
	struct flame f = { .t = &t, .v = &v, .to = to, .inverted = o && o->inverted };
	int r = view_make(p, o, VIEW_REVERSE, &v, err);

	if (r == 0)
		r = tree_make(&v, false, &t, err);
	if (r == 0)
		r = tree_layout(&t, err);
	if (r == 0)
		r = draw(&f, o, err);
	return r < 0 ? r : render_check(to, err);
}

int flame_write(const struct profile *p, const struct render_options *o, FILE *to,
                struct error *err)
{
	return ladder_picture_write(p, o, to, write_profile, err);
}
