/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Labels of one sample of a result: which process, which context. */

#include "alloc/tracee.h"
#include "profile/profile.h"

struct result_labels {
	struct profile_label items[PROFILE_MAX_LABELS];
	size_t n;
};

/* An empty @text adds nothing. */
int result_labels_text(struct result_labels *l, struct profile *p, const char *key,
                       const char *text, struct error *err);
/* "pid" and what kind of process it is; all that was there before goes. */
int result_labels_process(struct result_labels *l, struct profile *p, const struct tracee *t,
                          struct error *err);
/* Path, ident and class of the context at @address, as far as they were learned; 0: none. */
int result_labels_context(struct result_labels *l, struct profile *p, const struct tracee *t,
                          u64 address, struct error *err);
