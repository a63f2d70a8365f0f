/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The frames of a Go stack by the program's own pclntab: which function each part
 * of the stack belongs to, with or without symbols.
 *
 * The surprising rule: the frames only name words. Which words count does not
 * depend on them, so a stack that cannot be walked loses names, not objects.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/hash.h"
#include "runtime/go/go_module.h"
#include "runtime/object_graph.h"

/* One place in the code. */
struct go_frames_code {
	uint64_t entry;                 /* of its function */
	uint32_t name;                  /* text: "main.hold" */
	uint32_t unnamed;               /* text: "main.hold stack slot"; 0: not made yet */
	uint64_t locals, args, objects; /* addresses of its maps (go_liveness.h); 0: it has none */
	int32_t map_index;              /* into them */
	uint32_t args_bytes;
	int32_t bytes;    /* from the stack pointer to the return address; -1: not known */
	bool is_injected; /* its caller was interrupted there and did not call it */
	bool spills;      /* asyncPreempt: it keeps its caller's registers at its stack pointer */
	bool is_last;
	bool is_wrapper; /* made by the compiler to call another function */
};

struct go_frames_frame {
	uint64_t sp, cfa; /* its first word, and behind its return address */
	uint64_t pc;      /* in the instruction that it stands at */
	uint32_t code;    /* index into go_frames.codes */
	bool is_exact;    /* it was interrupted at pc; else it calls something there */
};

struct go_frames {
	const struct go_module *module;
	struct object_graph *texts;
	struct go_frames_code *codes; /* owned */
	size_t n_codes, cap_codes;
	struct hash_map by_pc;          /* pc -> index of codes */
	struct go_frames_frame *frames; /* of the last walk, the innermost first; owned */
	size_t n_frames, cap_frames;
};
void go_frames_clear(struct go_frames *f); /* usable with cleanup() */

struct go_frames_top {
	uint64_t pc, sp;
	uint64_t link; /* go_machine_link(); 0: not known */
	bool is_exact; /* it stands at pc; else pc is where it returns to */
};

/* Walk from @top to the end of the stack at @high. No frame at all is no error. */
int go_frames_walk(struct go_frames *f, const struct go_frames_top *top, uint64_t high,
                   struct error *err);
/* The frame that has the word at @at; NULL: none. */
const struct go_frames_frame *go_frames_at(const struct go_frames *f, uint64_t at);
