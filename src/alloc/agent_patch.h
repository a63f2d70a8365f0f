/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * May a function be patched, and how? Everything here only reads. The rules
 * (all of them, or the function is refused with a sentence):
 *
 *	- the whole function decodes, and its memory is what its file has (read with
 *	  read(2): in a private mapping of ours somebody's breakpoint would be there,
 *	  too). Only its first byte may be another's breakpoint; any, where a copy of
 *	  its page will be patched (agent_pages.h), which has none;
 *	- the first instruction stays where it is, so that a uprobe at the entry goes
 *	  on working. It can be taken back, or done twice; so can the others before the jump;
 *	- the instructions that five bytes of jump replace can be moved: no return, no
 *	  branch or call but the common ones. One that is as long is taken where there is
 *	  one, the second and those behind it otherwise;
 *	- the jump lies in one page, so that it is written in one piece;
 *	- nothing in the function, and nothing else in the module's code, jumps into
 *	  them, or to between the function's start and a jump that is behind the second.
 *
 * Why one long instruction: the kernel sets uprobes where its file has an instruction, one byte
 * each. In the middle of a jump that is another jump, to anywhere; at its first byte it is
 * a breakpoint, at which the kernel executes the file's instruction and goes on behind it.
 * Where the file's instruction is shorter than the jump, that is in the middle, too.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "alloc/agent_stub.h"
#include "alloc/tracee.h"
#include "runtime/code.h"

struct agent_patch {
	const struct runtime_probe *probe;
	struct agent_stub_head head;
	struct agent_stub_fast fast;
	uint64_t at, end; /* run-time addresses: the jump's, and behind what is moved */
	bool whole;       /* the jump replaces one instruction, which is as long or longer */
	uint8_t was[AGENT_PATCH_BYTES];
};

/* Of probe @i of @t: 1, or 0: it only jumps to another probed function, which sees its calls.
 * -ENOTSUP with the reason. */
int agent_patch_plan(const struct tracee *t, size_t i, bool in_page, struct agent_patch *ret,
                     struct error *err);
/* The rules about instructions, for a function of which all bytes are known: fills
 * @ret's head, at, end, was. */
int agent_patch_head(const struct runtime_probe *p, const struct code_function *c, uint64_t bias,
                     struct agent_patch *ret, struct error *err);
/* The last rule, for all of one module at once: 1; 0: *which is jumped into. */
int agent_patch_check_jumps(const struct tracee *t, const struct symbol_module *module,
                            const struct agent_patch *patches, size_t n, size_t *which,
                            struct error *err);
