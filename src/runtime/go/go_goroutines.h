/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * runtime.allgs: all goroutines, what they do, and where their
 * stacks are to be read. Found without symbols. Facts: runtime2.go, proc.go.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "runtime/go/go_objects.h"
#include "target/image.h"

struct go_goroutine {
	uint64_t at;                       /* address of the g */
	uint64_t low, high;                /* of its stack; 0: it is dead and has none */
	uint64_t sp;                       /* from here on its words count */
	uint64_t pc, frame_sp;             /* where its frames begin; 0: not known */
	bool is_exact;                     /* it stands at pc; else it returns to it */
	uint64_t start_pc;                 /* the function that it runs */
	uint64_t creator;                  /* in the instruction that created it; 0 */
	uint32_t status;                   /* enum go_waiting_status */
	uint8_t reason;                    /* g.waitreason */
	const struct image_thread *thread; /* that runs on its stack; NULL */
};

/* *ret is malloc'ed. None found is no error. */
int go_goroutines_read(struct go_objects *o, struct go_goroutine **ret, size_t *n,
                       struct error *err);
