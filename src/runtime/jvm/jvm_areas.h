/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What else HotSpot maps: code cache, metaspace with the class space, and the
 * collector's tables. Each area is one that a field of HotSpot leads to.
 */

#include "runtime/jvm/jvm_heap.h"

struct jvm_areas {
	struct jvm_areas_range {
		uint64_t start, end;
	} * items;
	size_t n_items, cap_items;
	uint64_t checked, inconsistent;
	int64_t used; /* -1 */
	uint64_t klasses;
};
void jvm_areas_clear(struct jvm_areas *a); /* { 0 } is empty */

/* They add to *ret; nothing found is no error. */
int jvm_areas_code(const struct jvm_structs *s, const struct maps *m, struct peek *p,
                   struct jvm_areas *ret, struct error *err);
int jvm_areas_metaspace(const struct jvm_structs *s, const struct maps *m, struct peek *p,
                        struct jvm_areas *ret, struct error *err);
int jvm_areas_collector(const struct jvm_structs *s, const struct maps *m, struct peek *p,
                        const struct jvm_heap *h, struct jvm_areas *ret, struct error *err);
