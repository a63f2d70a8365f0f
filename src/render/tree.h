/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The stacks of a view merged from the root: what a flame graph draws. Frames
 * are the same if their function and module are (call sites and inlining do
 * not matter); a frame without a name is told apart by its offset.
 *
 * Node 0 is the root, which no frame stands for; a parent's number is always
 * smaller than its children's. In a diff a node is as wide as the larger of
 * before and after, stack by stack, so that what vanished is still seen.
 */

#include <stdint.h>

#include "profile/interval.h"
#include "render/view.h"

struct tree_func {
	uint32_t frame; /* one frame of it */
	char text[40];  /* "module+0xoffset"; empty: the frame's name is the text */
};

struct tree_node {
	uint32_t func; /* undefined for the root */
	uint32_t parent, depth;
	int64_t value; /* width, never negative */
	int64_t count; /* of the view's count type */
	int64_t before, after;
	struct interval_sum sum; /* of an estimate */
	int64_t left;            /* sum of the values to the left: tree_layout() */
};

struct tree {
	const struct view *v;
	bool is_diff;
	struct tree_func *funcs;
	size_t n_funcs, cap_funcs;
	struct tree_node *nodes;
	size_t n_nodes, cap_nodes;
	uint32_t *leaves; /* node of each row of the view */
	uint32_t max_depth;
	size_t n_left_out; /* rows whose value is negative; they have no width */
};

/* The tree refers to @v, which must stay. @all_rows: rows without a width get
 * their path too, for a reader that has other values in mind. */
int tree_make(const struct view *v, bool all_rows, struct tree *ret, struct error *err);
void tree_clear(struct tree *t);

/* Set `left`: children largest first, equal ones by name. */
int tree_layout(struct tree *t, struct error *err);

const char *tree_text(const struct tree *t, const struct tree_func *f);
