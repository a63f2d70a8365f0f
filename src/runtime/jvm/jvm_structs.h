/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * gHotSpotVMStructs: which field of which class is where (share/runtime/
 * vmStructs.cpp; the same form since JDK 6). Names are read from libjvm's file:
 * the process need not have touched them.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/peek.h"
#include "runtime/runtime.h"

enum { JVM_STRUCTS_NAME = 48 };

struct jvm_structs {
	struct jvm_structs_entry {
		char type[JVM_STRUCTS_NAME], field[JVM_STRUCTS_NAME];
		bool is_static;
		uint64_t where; /* offset, or the address of a static field */
	} * items;
	size_t n_items, cap_items;
	uint64_t start, end; /* of libjvm's mappings */
};
void jvm_structs_clear(struct jvm_structs *s); /* { 0 } is empty */

/* 1; 0: no HotSpot here. */
int jvm_structs_read(const struct runtime_view *v, const struct maps *m, struct peek *p,
                     struct jvm_structs *ret, struct error *err);

/* The value of a static field of 8 bytes; 0 without it. */
uint64_t jvm_structs_static(const struct jvm_structs *s, struct peek *p, const char *type,
                            const char *field);
/* The address of a field of the object at @object; 0 without it. */
uint64_t jvm_structs_field(const struct jvm_structs *s, uint64_t object, const char *type,
                           const char *field);
/* The 8 bytes there. */
uint64_t jvm_structs_value(const struct jvm_structs *s, struct peek *p, uint64_t object,
                           const char *type, const char *field);
