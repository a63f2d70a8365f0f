/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The Java heap: what is reserved, and how much the collector calls used
 * (G1, Serial, Parallel; others are told apart and stay unknown).
 */

#include "runtime/jvm/jvm_structs.h"

struct jvm_heap {
	uint64_t object; /* Universe::_collectedHeap */
	uint64_t start, end;
	const char *collector; /* "G1"; "" not known */
	int64_t used;          /* as jcmd GC.heap_info says; -1 */
	uint64_t checked, inconsistent;
};
/* 1; 0: there is none yet (the JVM is starting). */
int jvm_heap_read(const struct jvm_structs *s, const struct maps *m, struct peek *p,
                  struct jvm_heap *ret);
