/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Call frame instructions of x86-64 (DWARF 5, 6.4; GNU extensions: LSB core
 * 5.0, 10.6), reduced to what a row can hold: the CFA, and where the caller's
 * rbp and return address are. What a row cannot hold becomes UNWIND_NONE.
 */

#include <stdint.h>

#include "base/error.h"
#include "unwind/cursor.h"
#include "unwind/rows.h"

enum cfa_kind { CFA_LOST, CFA_RSP, CFA_RBP, CFA_PLT, CFA_SIGNAL, CFA_RBP_DEREF };
enum cfa_reg {
	REG_SAME,      /* still in its register */
	REG_SAVED,     /* at CFA + offset */
	REG_UNDEFINED, /* return address only: outermost frame */
	REG_AT_BP,     /* at the address that rbp holds (stack realignment) */
	REG_SIGNAL,    /* in the ucontext on the stack */
	REG_LOST,
};

struct cfa_state {
	uint8_t cfa, rbp, rip, rsp; /* enum cfa_kind; enum cfa_reg */
	int64_t cfa_offset, rbp_offset, rip_offset;
};

struct cfa_program {
	uint64_t code_factor;
	int64_t data_factor;
	uint8_t encoding;         /* DW_EH_PE_ of addresses, for DW_CFA_set_loc */
	struct cfa_state initial; /* what DW_CFA_restore goes back to */
};

/* State before a CIE's own instructions. */
struct cfa_state cfa_program_start(void);
/* Run @code from @vaddr; each address range whose rule is known then goes to
 * @rows (may be NULL), the last one included. *state comes back changed. A
 * damaged program ends in rules that are lost. */
int cfa_program_run(const struct cfa_program *p, struct cursor code, uint64_t vaddr,
                    struct cfa_state *state, struct rows *rows, struct error *err);
