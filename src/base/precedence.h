/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The calling thread comes before all that are ordinary, for as long as somebody else stands still
 * because of it: others that want the processor are not to make that longer. It has to sleep where
 * it waits. Where it is not permitted (no CAP_SYS_NICE) all is as it is.
 */

struct precedence {
	int policy, priority, nice;
};

/* What was before is for precedence_give_back(); @ret NULL: the thread ends with it. */
void precedence_take(struct precedence *ret);
void precedence_give_back(const struct precedence *before);
