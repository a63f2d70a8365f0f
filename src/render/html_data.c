/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "render/html_data.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/hash.h"
#include "base/json.h"
#include "profile/interval.h"
#include "render/colour.h"
#include "render/figures.h"
#include "render/ladder_picture.h"
#include "render/units.h"

enum { NAME_BYTES = 4096, TABLE_ROWS = 2000 };

struct data {
	const struct tree *t;
	const struct view *v;
	struct json j;
	uint32_t *module_of; /* by function: index into modules */
	uint32_t *modules;   /* string ids; 0 is "no module" */
	size_t n_modules, cap_modules;
	struct hash_map module_ids;
};

static void data_clear(struct data *d)
{
	free(d->module_of);
	free(d->modules);
	hash_map_clear(&d->module_ids);
}

static void put_name(struct json *j, const char *s)
{
	json_string_n(j, s, strnlen(s, NAME_BYTES));
}

static const struct profile_frame *frame_of(const struct data *d, size_t func)
{
	return profile_frame_at(d->v->p, d->t->funcs[func].frame);
}

static int module_index(struct data *d, uint32_t module, uint32_t *ret, struct error *err)
{
	uint64_t *hit = hash_map_get(&d->module_ids, module);
	int r;

	if (hit) {
		*ret = (uint32_t)*hit;
		return 0;
	}
	r = array_reserve(&d->modules, &d->cap_modules, d->n_modules + 1, err);
	if (r == 0)
		r = hash_map_put(&d->module_ids, module, d->n_modules, err);
	if (r < 0)
		return r;
	*ret = (uint32_t)d->n_modules;
	d->modules[d->n_modules++] = module;
	return 0;
}

static int find_modules(struct data *d, struct error *err)
{
	uint32_t none;
	int r = module_index(d, 0, &none, err);

	d->module_of = calloc(d->t->n_funcs + 1, sizeof(*d->module_of));
	if (!d->module_of)
		return error_oom(err);
	for (size_t i = 0; r == 0 && i < d->t->n_funcs; i++)
		r = module_index(d, frame_of(d, i)->module, &d->module_of[i], err);
	return r;
}

/* ---- the head */

/* Where the sums of the type's interval are; and those sums themselves are not for lists. */
static void put_interval(struct data *d, size_t type)
{
	struct interval_types t;

	json_key(&d->j, "helper");
	json_bool(&d->j, interval_is_helper(profile_type_at(d->v->p, type)));
	if (!interval_find(d->v->p, type, &t))
		return;
	json_key(&d->j, "interval");
	json_object(&d->j);
	json_key(&d->j, "samples");
	json_int(&d->j, t.samples);
	json_key(&d->j, "seen");
	json_int(&d->j, t.seen);
	json_key(&d->j, "variance");
	json_int(&d->j, t.variance);
	json_key(&d->j, "unit");
	json_double(&d->j, interval_variance_unit(d->v->p, &t));
	json_object_end(&d->j);
}

static void put_types(struct data *d)
{
	json_key(&d->j, "types");
	json_array(&d->j);
	for (size_t i = 0; i < profile_n_types(d->v->p); i++) {
		const struct profile_type *t = profile_type_at(d->v->p, i);
		int count = view_companion(d->v->p, i, "_objects");

		json_object(&d->j);
		json_key(&d->j, "text");
		json_string(&d->j, figures_type_name(t));
		json_key(&d->j, "unit");
		json_string(&d->j, t->unit);
		json_key(&d->j, "count");
		json_int(&d->j, count == (int)i ? -1 : count);
		json_key(&d->j, "age");
		json_int(&d->j, view_companion(d->v->p, i, "_age"));
		put_interval(d, i);
		json_object_end(&d->j);
	}
	json_array_end(&d->j);
	json_key(&d->j, "type");
	json_uint(&d->j, d->v->type);
	json_key(&d->j, "growth");
	json_int(&d->j, d->v->growth);
}

static void put_diff(struct data *d)
{
	json_key(&d->j, "diff");
	if (!d->v->is_diff) {
		json_null(&d->j);
		return;
	}
	json_object(&d->j);
	json_key(&d->j, "after");
	json_int(&d->j, d->v->after);
	json_key(&d->j, "before");
	json_int(&d->j, d->v->before);
	json_key(&d->j, "delta");
	json_int(&d->j, d->v->delta);
	json_object_end(&d->j);
}

static void put_head(struct data *d, const struct render_options *o)
{
	char buf[FIGURES_BYTES];
	bool warn;

	json_key(&d->j, "title");
	json_string(&d->j, figures_title(d->v, o, buf, sizeof(buf)));
	json_key(&d->j, "amount");
	json_string(&d->j, figures_amount(d->v, buf, sizeof(buf)));
	json_key(&d->j, "trust");
	json_string(&d->j, figures_trust(d->v, buf, sizeof(buf), &warn));
	json_key(&d->j, "warn");
	json_bool(&d->j, warn);
	json_key(&d->j, "reverse");
	json_bool(&d->j, o && o->reverse);
	json_key(&d->j, "stack");
	json_string(&d->j, figures_stack(d->v));
	json_key(&d->j, "ladder");
	json_bool(&d->j, ladder_picture_is(d->v->p));
	json_key(&d->j, "inverted");
	json_bool(&d->j, o && o->inverted);
	put_types(d);
	put_diff(d);
}

/* ---- the report, as texts */

static void put_figures(struct data *d, const struct report *r)
{
	char buf[FIGURES_BYTES];

	json_key(&d->j, "figures");
	json_array(&d->j);
	for (size_t i = 0; i < r->n_figures; i++) {
		const struct report_figure *f = &r->figures[i];

		json_array(&d->j);
		put_name(&d->j, f->title && *f->title ? f->title : f->key);
		json_string(&d->j, figures_value(f, buf, sizeof(buf)));
		json_array_end(&d->j);
	}
	json_array_end(&d->j);
}

static void put_table_rows(struct data *d, const struct report_table *t)
{
	char buf[FIGURES_BYTES];

	json_key(&d->j, "rows");
	json_array(&d->j);
	for (size_t row = 0; row < t->n_rows && row < TABLE_ROWS; row++) {
		json_array(&d->j);
		for (size_t c = 0; c < t->n_columns; c++)
			json_string(&d->j, figures_cell(t, row, c, buf, sizeof(buf)));
		json_array_end(&d->j);
	}
	json_array_end(&d->j);
}

static void put_table(struct data *d, const struct report_table *t)
{
	json_object(&d->j);
	json_key(&d->j, "key");
	put_name(&d->j, t->key);
	json_key(&d->j, "columns");
	json_array(&d->j);
	for (size_t c = 0; c < t->n_columns; c++)
		put_name(&d->j, t->columns[c]);
	json_array_end(&d->j);
	json_key(&d->j, "numeric");
	json_array(&d->j);
	for (size_t c = 0; c < t->n_columns; c++)
		json_bool(&d->j, t->n_rows && t->cells[c].kind != REPORT_TEXT);
	json_array_end(&d->j);
	put_table_rows(d, t);
	json_object_end(&d->j);
}

static void put_report(struct data *d)
{
	const struct report *r = profile_report_const(d->v->p);

	put_figures(d, r);
	json_key(&d->j, "tables");
	json_array(&d->j);
	for (size_t i = 0; i < r->n_tables; i++)
		put_table(d, &r->tables[i]);
	json_array_end(&d->j);
}

/* ---- functions and colours */

static void put_functions(struct data *d)
{
	struct json *j = &d->j;

	json_key(j, "names");
	json_array(j);
	for (size_t i = 0; i < d->t->n_funcs; i++) {
		const char *text = tree_text(d->t, &d->t->funcs[i]);

		put_name(j, *text ? text : "[unknown]");
	}
	json_array_end(j);
	json_key(j, "module_of");
	json_array(j);
	for (size_t i = 0; i < d->t->n_funcs; i++)
		json_uint(j, d->module_of[i]);
	json_array_end(j);
	json_key(j, "classes");
	json_array(j);
	for (size_t i = 0; i < d->t->n_funcs; i++) {
		const struct profile_frame *f = frame_of(d, i);
		unsigned colour = colour_class(view_module_name(d->v->p, f),
		                               tree_text(d->t, &d->t->funcs[i]), f->name != 0);

		json_uint(j, colour);
	}
	json_array_end(j);
}

static void put_modules(struct data *d)
{
	json_key(&d->j, "modules");
	json_array(&d->j);
	for (size_t i = 0; i < d->n_modules; i++) {
		struct profile_frame f = { .module = d->modules[i] };

		put_name(&d->j, view_module_name(d->v->p, &f));
	}
	json_array_end(&d->j);
	json_key(&d->j, "module_paths");
	json_array(&d->j);
	for (size_t i = 0; i < d->n_modules; i++)
		put_name(&d->j, profile_text(d->v->p, d->modules[i]));
	json_array_end(&d->j);
}

static void put_theme(struct data *d, const char *key, bool dark)
{
	char hex[8];

	json_key(&d->j, key);
	json_array(&d->j);
	for (unsigned i = 0; i < COLOUR_CLASSES; i++)
		json_string(&d->j, colour_hex(i, dark, hex));
	json_array_end(&d->j);
}

static void put_colours(struct data *d)
{
	put_theme(d, "light", false);
	put_theme(d, "dark", true);
	json_key(&d->j, "grey");
	json_uint(&d->j, COLOUR_SHADES / 2);
	json_key(&d->j, "diff_zero");
	json_uint(&d->j, COLOUR_DIFF + COLOUR_DIFF_STEPS);
	json_key(&d->j, "diff_steps");
	json_uint(&d->j, COLOUR_DIFF_STEPS);
}

/* ---- stacks */

static void put_trie(struct data *d)
{
	struct json *j = &d->j;

	json_key(j, "up");
	json_array(j);
	for (size_t i = 0; i < d->t->n_nodes; i++)
		json_uint(j, i - d->t->nodes[i].parent);
	json_array_end(j);
	json_key(j, "func");
	json_array(j);
	for (size_t i = 0; i < d->t->n_nodes; i++)
		json_uint(j, d->t->nodes[i].func);
	json_array_end(j);
	json_key(j, "leaf");
	json_array(j);
	for (size_t i = 0; i < d->v->n_rows; i++)
		json_uint(j, d->t->leaves[i]);
	json_array_end(j);
}

static void put_values(struct data *d)
{
	json_key(&d->j, "values");
	json_array(&d->j);
	for (size_t type = 0; type < profile_n_types(d->v->p); type++) {
		json_array(&d->j);
		for (size_t i = 0; i < d->v->n_rows; i++)
			json_int(&d->j, view_value(d->v, i, (int)type));
		json_array_end(&d->j);
	}
	json_array_end(&d->j);
}

static uint64_t hash_labels(const struct profile_sample *s)
{
	uint64_t h = s->n_labels;

	for (size_t i = 0; i < s->n_labels; i++) {
		uint64_t part[3] = { s->labels[i].key, s->labels[i].text,
			             (uint64_t)s->labels[i].number };

		h = hash_bytes(part, sizeof(part), h);
	}
	return h;
}

static bool same_labels(const struct profile_sample *a, const struct profile_sample *b)
{
	if (a->n_labels != b->n_labels)
		return false;
	for (size_t i = 0; i < a->n_labels; i++) {
		if (a->labels[i].key != b->labels[i].key ||
		    a->labels[i].text != b->labels[i].text ||
		    a->labels[i].number != b->labels[i].number)
			return false;
	}
	return true;
}

static void put_label_set(struct data *d, const struct profile_sample *s)
{
	json_array(&d->j);
	for (size_t i = 0; i < s->n_labels; i++) {
		const struct profile_label *l = &s->labels[i];
		char buf[UNITS_BYTES];

		snprintf(buf, sizeof(buf), "%lld", (long long)l->number);
		json_array(&d->j);
		put_name(&d->j, profile_text(d->v->p, l->key));
		put_name(&d->j, l->text ? profile_text(d->v->p, l->text) : buf);
		json_array_end(&d->j);
	}
	json_array_end(&d->j);
}

/* Label sets that occur, and for each row which one; few sets, many rows. */
struct label_sets {
	struct hash_map ids; /* hash of the labels -> index */
	size_t *rows;        /* a row that has the set */
	size_t n, cap;
};

static void label_sets_clear(struct label_sets *l)
{
	hash_map_clear(&l->ids);
	free(l->rows);
}

static int find_set(struct data *d, struct label_sets *l, size_t row, size_t *ret,
                    struct error *err)
{
	struct profile_sample s = profile_sample_at(d->v->p, d->v->rows[row].sample);
	uint64_t hash = hash_labels(&s), *hit;
	size_t pos = 0;
	int r;

	while ((hit = hash_map_next(&l->ids, hash, &pos))) {
		struct profile_sample other = profile_sample_at(d->v->p,
		                                                d->v->rows[l->rows[*hit]].sample);

		if (same_labels(&s, &other)) {
			*ret = *hit;
			return 0;
		}
	}
	r = array_reserve(&l->rows, &l->cap, l->n + 1, err);
	if (r == 0)
		r = hash_map_add(&l->ids, hash, l->n, err);
	if (r < 0)
		return r;
	*ret = l->n;
	l->rows[l->n++] = row;
	return 0;
}

static int put_labels(struct data *d, struct error *err)
{
	cleanup(label_sets_clear) struct label_sets l = { 0 };

	json_key(&d->j, "labels");
	json_array(&d->j);
	for (size_t row = 0; row < d->v->n_rows; row++) {
		size_t set;
		int r;

		if (!profile_sample_at(d->v->p, d->v->rows[row].sample).n_labels) {
			json_int(&d->j, -1);
			continue;
		}
		r = find_set(d, &l, row, &set, err);
		if (r < 0)
			return r;
		json_uint(&d->j, set);
	}
	json_array_end(&d->j);
	json_key(&d->j, "label_sets");
	json_array(&d->j);
	for (size_t i = 0; i < l.n; i++) {
		struct profile_sample s = profile_sample_at(d->v->p, d->v->rows[l.rows[i]].sample);

		put_label_set(d, &s);
	}
	json_array_end(&d->j);
	return 0;
}

int html_data_write(const struct tree *t, const struct render_options *o, FILE *to,
                    struct error *err)
{
	cleanup(data_clear) struct data d = { .t = t, .v = t->v, .j = json_on(to) };
	int r = find_modules(&d, err);

	if (r < 0)
		return r;
	json_object(&d.j);
	put_head(&d, o);
	put_report(&d);
	put_functions(&d);
	put_modules(&d);
	put_colours(&d);
	put_trie(&d);
	put_values(&d);
	r = put_labels(&d, err);
	json_object_end(&d.j);
	return r;
}
