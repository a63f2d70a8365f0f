/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * How fast something grows, with confidence. The surprising rule: a slope is
 * only said when it is one. Samples of ten a second depend on each other, so
 * their number proves nothing: the window is cut into eight blocks, the line
 * goes through the blocks' means, and its 95 % interval comes from their
 * scatter (6 degrees of freedom). A step has a slope, too, and is no growth that
 * goes on: nearly all blocks have to be above the one before.
 */

#include <stdbool.h>
#include <stdint.h>

enum { TRIGGER_SLOPE_BLOCKS = 8 };

struct trigger_slope {
	uint64_t block_ns; /* an eighth of the window */
	struct trigger_slope_block {
		uint64_t index; /* of time: now / block_ns; 0: empty */
		double sum_bytes, sum_ns;
		uint64_t n;
	} blocks[TRIGGER_SLOPE_BLOCKS + 1]; /* the last one is not complete */
};

void trigger_slope_init(struct trigger_slope *s, uint64_t window_ns);
/* @now_ns never goes back. */
void trigger_slope_add(struct trigger_slope *s, uint64_t now_ns, double bytes);

struct trigger_slope_line {
	double bytes_per_s, low, high; /* 95 % interval */
	bool steady;                   /* it grows, all along, and the interval says so */
};
/* false: not seen for long enough. */
bool trigger_slope_line(const struct trigger_slope *s, struct trigger_slope_line *ret);
