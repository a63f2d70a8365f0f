/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "render/tree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/hash.h"
#include "render/interval_text.h"

struct builder {
	struct tree *t;
	bool all_rows;
	uint32_t *func_of_frame;  /* frame id -> function + 1; 0: not seen yet */
	struct hash_map func_ids; /* hash of the function -> its number */
	struct hash_map children; /* parent << 32 | function -> node */
};

static void builder_clear(struct builder *b)
{
	free(b->func_of_frame);
	hash_map_clear(&b->func_ids);
	hash_map_clear(&b->children);
}

const char *tree_text(const struct tree *t, const struct tree_func *f)
{
	const struct profile_frame *frame = profile_frame_at(t->v->p, f->frame);

	return frame && frame->name ? profile_text(t->v->p, frame->name) : f->text;
}

static bool is_same(const struct profile_frame *a, const struct profile_frame *b)
{
	return a->name == b->name && a->module == b->module && (a->name || a->offset == b->offset);
}

static int add_func(struct builder *b, uint32_t frame_id, const struct profile_frame *f,
                    uint32_t *ret, struct error *err)
{
	uint64_t key[3] = { f->name, f->module, f->name ? 0 : f->offset };
	uint64_t hash = hash_bytes(key, sizeof(key), 0), *hit;
	struct tree *t = b->t;
	size_t pos = 0;
	int r;

	while ((hit = hash_map_next(&b->func_ids, hash, &pos))) {
		if (is_same(f, profile_frame_at(t->v->p, t->funcs[*hit].frame))) {
			*ret = (uint32_t)*hit;
			return 0;
		}
	}
	r = array_reserve(&t->funcs, &t->cap_funcs, t->n_funcs + 1, err);
	if (r == 0)
		r = hash_map_add(&b->func_ids, hash, t->n_funcs, err);
	if (r < 0)
		return r;
	*ret = (uint32_t)t->n_funcs++;
	t->funcs[*ret] = (struct tree_func){ .frame = frame_id };
	if (!f->name)
		profile_frame_text(t->v->p, frame_id, t->funcs[*ret].text, sizeof(t->funcs->text));
	return 0;
}

static int find_func(struct builder *b, uint32_t frame_id, uint32_t *ret, struct error *err)
{
	const struct profile_frame *f = profile_frame_at(b->t->v->p, frame_id);
	int r;

	if (!f)
		return error_set(err, EINVAL, "the profile has no frame %u", frame_id);
	if (!b->func_of_frame[frame_id]) {
		r = add_func(b, frame_id, f, ret, err);
		if (r < 0)
			return r;
		b->func_of_frame[frame_id] = *ret + 1;
	}
	*ret = b->func_of_frame[frame_id] - 1;
	return 0;
}

static int find_child(struct builder *b, uint32_t parent, uint32_t func, uint32_t *ret,
                      struct error *err)
{
	uint64_t key = (uint64_t)parent << 32 | func, *hit = hash_map_get(&b->children, key);
	struct tree *t = b->t;
	int r;

	if (hit) {
		*ret = (uint32_t)*hit;
		return 0;
	}
	if (t->n_nodes >= UINT32_MAX)
		return error_set(err, E2BIG, "the picture would have too many frames");
	r = array_reserve(&t->nodes, &t->cap_nodes, t->n_nodes + 1, err);
	if (r == 0)
		r = hash_map_put(&b->children, key, t->n_nodes, err);
	if (r < 0)
		return r;
	*ret = (uint32_t)t->n_nodes++;
	t->nodes[*ret] = (struct tree_node){ .func = func,
		                             .parent = parent,
		                             .depth = t->nodes[parent].depth + 1 };
	if (t->nodes[*ret].depth > t->max_depth)
		t->max_depth = t->nodes[*ret].depth;
	return 0;
}

/* What the row adds to each node of its path. */
static struct tree_node row_values(const struct tree *t, size_t row)
{
	const struct view *v = t->v;
	struct tree_node n = { .value = v->rows[row].value, .count = view_value(v, row, v->count) };

	if (t->is_diff) {
		n.before = view_value(v, row, v->before);
		n.after = view_value(v, row, v->after);
		n.value = n.before > n.after ? n.before : n.after;
	}
	n.sum = interval_text_row(v, row);
	return n;
}

static void add_values(struct tree_node *to, const struct tree_node *from)
{
	to->value = view_add(to->value, from->value);
	to->count = view_add(to->count, from->count);
	to->before = view_add(to->before, from->before);
	to->after = view_add(to->after, from->after);
	interval_add(&to->sum, &from->sum);
}

static int add_row(struct builder *b, size_t row, struct error *err)
{
	struct tree *t = b->t;
	struct profile_sample s = profile_sample_at(t->v->p, t->v->rows[row].sample);
	struct tree_node values = row_values(t, row);
	uint32_t node = 0, func = 0;

	if (values.value <= 0) {
		t->n_left_out += values.value < 0;
		values.value = 0;
		if (!b->all_rows)
			return 0;
	}
	add_values(&t->nodes[0], &values);
	for (size_t i = s.n_frames; i-- > 0;) {
		int r = find_func(b, s.frames[i], &func, err);

		if (r == 0)
			r = find_child(b, node, func, &node, err);
		if (r < 0)
			return r;
		add_values(&t->nodes[node], &values);
	}
	t->leaves[row] = node;
	return 0;
}

int tree_make(const struct view *v, bool all_rows, struct tree *ret, struct error *err)
{
	cleanup(tree_clear) struct tree t = { .v = v };
	cleanup(builder_clear) struct builder b = { .t = &t, .all_rows = all_rows };
	int r = array_reserve(&t.nodes, &t.cap_nodes, 1024, err);

	if (r < 0)
		return r;
	t.is_diff = v->is_diff && (int)v->type == v->delta;
	t.nodes[t.n_nodes++] = (struct tree_node){ 0 };
	t.leaves = calloc(v->n_rows + 1, sizeof(*t.leaves));
	b.func_of_frame = calloc(profile_n_frames(v->p) + 1, sizeof(*b.func_of_frame));
	if (!t.leaves || !b.func_of_frame)
		return error_oom(err);
	for (size_t row = 0; row < v->n_rows; row++) {
		r = add_row(&b, row, err);
		if (r < 0)
			return r;
	}
	*ret = t;
	t = (struct tree){ 0 };
	return 0;
}

void tree_clear(struct tree *t)
{
	free(t->funcs);
	free(t->nodes);
	free(t->leaves);
	*t = (struct tree){ 0 };
}

static int by_place(const void *a, const void *b, void *arg)
{
	const struct tree *t = arg;
	const struct tree_node *x = &t->nodes[*(const uint32_t *)a];
	const struct tree_node *y = &t->nodes[*(const uint32_t *)b];
	int r;

	if (x->parent != y->parent)
		return x->parent < y->parent ? -1 : 1;
	if (x->value != y->value)
		return x->value < y->value ? 1 : -1;
	r = strcmp(tree_text(t, &t->funcs[x->func]), tree_text(t, &t->funcs[y->func]));
	return r ? r : (x->func > y->func) - (x->func < y->func);
}

/* Sorted by parent, siblings stand together; and a parent's own place is known
 * before its children's, because its number is smaller. */
int tree_layout(struct tree *t, struct error *err)
{
	cleanup_free uint32_t *order = malloc(t->n_nodes * sizeof(*order));
	uint32_t parent = UINT32_MAX;
	int64_t left = 0;

	if (!order)
		return error_oom(err);
	for (size_t i = 1; i < t->n_nodes; i++)
		order[i - 1] = (uint32_t)i;
	qsort_r(order, t->n_nodes - 1, sizeof(*order), by_place, t);
	for (size_t i = 0; i + 1 < t->n_nodes; i++) {
		struct tree_node *n = &t->nodes[order[i]];

		if (n->parent != parent) {
			parent = n->parent;
			left = t->nodes[parent].left;
		}
		n->left = left;
		left = view_add(left, n->value);
	}
	return 0;
}
