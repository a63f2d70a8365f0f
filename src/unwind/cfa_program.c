/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "unwind/cfa_program.h"

#include <dwarf.h>
#include <limits.h>

#include "base/cleanup.h"

/* DWARF register numbers: System V ABI for x86-64, figure 3.36 */
enum { REG_RBP = 6, REG_RSP = 7, REG_RIP = 16 };
enum { MAX_REMEMBERED = 32 };

struct run {
	const struct cfa_program *program;
	struct cursor code;
	uint64_t vaddr;
	struct cfa_state *state, remembered[MAX_REMEMBERED];
	size_t n_remembered;
	struct rows *rows;
};

struct cfa_state cfa_program_start(void)
{
	return (struct cfa_state){ .cfa = CFA_LOST, .rip = REG_LOST };
}

static bool matches(struct cursor c, const uint8_t *pattern, size_t len)
{
	return cursor_left(&c) == len && !memcmp(c.at, pattern, len);
}

/* What a row says of the caller's rbp; false if it cannot say it. */
static bool rbp_slot_of(const struct cfa_state *s, unsigned char *slot)
{
	int64_t offset = s->rbp_offset;

	*slot = 0;
	if (s->rbp == REG_SAME)
		return true;
	/* slot 1 is the return address */
	if (s->rbp != REG_SAVED || offset % 8 || offset > -16 || offset < -8 * UCHAR_MAX)
		return false;
	*slot = -offset / 8;
	return true;
}

static struct unwind_row usual_row(const struct cfa_state *s)
{
	const struct unwind_row none = { .type = UNWIND_NONE };
	struct unwind_row row = { .type = s->cfa == CFA_RSP ? UNWIND_RSP : UNWIND_RBP };
	int64_t offset = s->cfa_offset;

	if (s->rip != REG_SAVED || s->rip_offset != -8 || !rbp_slot_of(s, &row.rbp_slot))
		return none;
	if (s->cfa == CFA_RSP && offset > SHRT_MAX && offset % 8 == 0 && offset / 8 <= SHRT_MAX) {
		row.type = UNWIND_RSP_FAR;
		offset /= 8;
	}
	/* a frame never is below its own stack pointer */
	if (offset < (s->cfa == CFA_RSP ? 0 : SHRT_MIN) || offset > SHRT_MAX)
		return none;
	row.cfa_offset = offset;
	return row;
}

static struct unwind_row row_of(const struct cfa_state *s)
{
	const struct unwind_row none = { .type = UNWIND_NONE };
	bool at_cfa = s->rip == REG_SAVED && s->rip_offset == -8;

	if (s->rip == REG_UNDEFINED)
		return (struct unwind_row){ .type = UNWIND_END };
	if (s->cfa == CFA_SIGNAL)
		return s->rip == REG_SIGNAL && s->rbp == REG_SIGNAL
		               ? (struct unwind_row){ .type = UNWIND_SIGNAL }
		               : none;
	if (s->rsp != REG_SAME)
		return none;
	switch (s->cfa) {
	case CFA_RSP:
	case CFA_RBP: return usual_row(s);
	case CFA_PLT:
		return at_cfa && s->rbp == REG_SAME ? (struct unwind_row){ .type = UNWIND_PLT }
		                                    : none;
	case CFA_RBP_DEREF:
		if (!at_cfa || s->rbp != REG_AT_BP || s->cfa_offset < SHRT_MIN ||
		    s->cfa_offset > SHRT_MAX)
			return none;
		return (struct unwind_row){ .type = UNWIND_RBP_DEREF, .cfa_offset = s->cfa_offset };
	default: return none;
	}
}

static int emit(struct run *r, struct error *err)
{
	struct unwind_row row = row_of(r->state);

	if (!r->rows)
		return 0;
	if (row.type == UNWIND_NONE)
		r->rows->n_dropped++;
	return rows_add(r->rows, r->vaddr, row, err);
}

static int advance_to(struct run *r, uint64_t vaddr, struct error *err)
{
	int ret = vaddr > r->vaddr ? emit(r, err) : 0;

	/* backwards is not in the standard; what was said before stays */
	if (vaddr > r->vaddr)
		r->vaddr = vaddr;
	return ret;
}

static int advance(struct run *r, uint64_t delta, struct error *err)
{
	uint64_t to;

	if (__builtin_mul_overflow(delta, r->program->code_factor, &to) ||
	    __builtin_add_overflow(to, r->vaddr, &to)) {
		cursor_fail(&r->code);
		return 0;
	}
	return advance_to(r, to, err);
}

/* Only addresses of .debug_frame are this simple; .eh_frame never has it. */
static int set_loc(struct run *r, struct error *err)
{
	if (r->program->encoding != DW_EH_PE_absptr) {
		cursor_fail(&r->code);
		return 0;
	}
	return advance_to(r, cursor_uint(&r->code, 8), err);
}

static void set_rule(struct cfa_state *s, uint64_t reg, enum cfa_reg rule, int64_t offset)
{
	if (reg == REG_RBP) {
		s->rbp = rule;
		s->rbp_offset = offset;
	} else if (reg == REG_RIP) {
		s->rip = rule;
		s->rip_offset = offset;
	} else if (reg == REG_RSP) {
		s->rsp = rule;
	}
}

static void saved(struct run *r, uint64_t reg, int64_t factored)
{
	int64_t offset;

	if (__builtin_mul_overflow(factored, r->program->data_factor, &offset))
		set_rule(r->state, reg, REG_LOST, 0);
	else
		set_rule(r->state, reg, REG_SAVED, offset);
}

static void restore(struct run *r, uint64_t reg)
{
	const struct cfa_state *i = &r->program->initial;

	if (reg == REG_RBP)
		set_rule(r->state, reg, i->rbp, i->rbp_offset);
	else if (reg == REG_RIP)
		set_rule(r->state, reg, i->rip, i->rip_offset);
	else
		set_rule(r->state, reg, i->rsp, 0);
}

static void define_cfa(struct cfa_state *s, uint64_t reg)
{
	s->cfa = reg == REG_RSP ? CFA_RSP : reg == REG_RBP ? CFA_RBP : CFA_LOST;
}

static void set_cfa_offset(struct run *r, int64_t offset, int64_t factor)
{
	if (__builtin_mul_overflow(offset, factor, &r->state->cfa_offset))
		r->state->cfa = CFA_LOST;
}

static struct cursor block(struct cursor *c)
{
	const uint8_t *from;
	uint64_t len = cursor_uleb(c);

	from = c->at;
	cursor_skip(c, len);
	return cursor_on(from, c->bad ? 0 : len);
}

/* The linker's PLT: rsp + 8 + ((rip & 15) >= 11) * 8 (binutils, elf64-x86-64.c). */
static const uint8_t plt_cfa[] = { DW_OP_breg7, 8,         DW_OP_breg16, 0,
	                           DW_OP_lit15, DW_OP_and, DW_OP_lit11,  DW_OP_ge,
	                           DW_OP_lit3,  DW_OP_shl, DW_OP_plus };
/* glibc's __restore_rt (sysdeps/unix/sysv/linux/x86_64/libc_sigaction.c):
 * rsp, rbp and rip are at rsp + 40 + 8 * {15, 10, 16}. */
static const uint8_t signal_cfa[] = { DW_OP_breg7, 0xa0, 0x01, DW_OP_deref };
static const uint8_t signal_rbp[] = { DW_OP_breg7, 0xf8, 0x00 };
static const uint8_t signal_rip[] = { DW_OP_breg7, 0xa8, 0x01 };
/* gcc's stack realignment: *rbp, and the CFA at *(rbp + n) */
static const uint8_t at_rbp[] = { DW_OP_breg6, 0 };

static void define_cfa_expression(struct cfa_state *s, struct cursor e)
{
	s->cfa = CFA_LOST;
	if (matches(e, plt_cfa, sizeof(plt_cfa))) {
		s->cfa = CFA_PLT;
	} else if (matches(e, signal_cfa, sizeof(signal_cfa))) {
		s->cfa = CFA_SIGNAL;
	} else if (cursor_uint(&e, 1) == DW_OP_breg6) {
		s->cfa_offset = cursor_sleb(&e);
		if (cursor_uint(&e, 1) == DW_OP_deref && !cursor_left(&e) && !e.bad)
			s->cfa = CFA_RBP_DEREF;
	}
}

static void register_expression(struct cfa_state *s, uint64_t reg, struct cursor e)
{
	enum cfa_reg rule = REG_LOST;

	if (reg == REG_RBP && matches(e, signal_rbp, sizeof(signal_rbp)))
		rule = REG_SIGNAL;
	else if (reg == REG_RIP && matches(e, signal_rip, sizeof(signal_rip)))
		rule = REG_SIGNAL;
	else if (reg == REG_RBP && matches(e, at_rbp, sizeof(at_rbp)))
		rule = REG_AT_BP;
	set_rule(s, reg, rule, 0);
}

static void remember(struct run *r)
{
	if (r->n_remembered == MAX_REMEMBERED)
		cursor_fail(&r->code);
	else
		r->remembered[r->n_remembered++] = *r->state;
}

static void recall(struct run *r)
{
	if (!r->n_remembered)
		cursor_fail(&r->code);
	else
		*r->state = r->remembered[--r->n_remembered];
}

/* Instructions about one register. */
static void register_op(struct run *r, uint8_t op)
{
	struct cursor *c = &r->code;
	uint64_t reg = cursor_uleb(c);

	switch (op) {
	case DW_CFA_offset_extended: saved(r, reg, (int64_t)cursor_uleb(c)); break;
	case DW_CFA_offset_extended_sf: saved(r, reg, cursor_sleb(c)); break;
	case DW_CFA_GNU_negative_offset_extended: saved(r, reg, -(int64_t)cursor_uleb(c)); break;
	case DW_CFA_restore_extended: restore(r, reg); break;
	case DW_CFA_undefined:
		set_rule(r->state, reg, reg == REG_RIP ? REG_UNDEFINED : REG_LOST, 0);
		break;
	case DW_CFA_same_value:
		set_rule(r->state, reg, reg == REG_RIP ? REG_LOST : REG_SAME, 0);
		break;
	case DW_CFA_expression: register_expression(r->state, reg, block(c)); break;
	case DW_CFA_val_expression:
		block(c);
		set_rule(r->state, reg, REG_LOST, 0);
		break;
	case DW_CFA_register:
	case DW_CFA_val_offset:
		cursor_uleb(c);
		set_rule(r->state, reg, REG_LOST, 0);
		break;
	case DW_CFA_val_offset_sf:
		cursor_sleb(c);
		set_rule(r->state, reg, REG_LOST, 0);
		break;
	default: cursor_fail(c); break;
	}
}

/* Instructions about the CFA, and those without an operand of interest. */
static void cfa_op(struct run *r, uint8_t op)
{
	struct cursor *c = &r->code;

	switch (op) {
	case DW_CFA_nop: break;
	case DW_CFA_remember_state: remember(r); break;
	case DW_CFA_restore_state: recall(r); break;
	case DW_CFA_def_cfa:
		define_cfa(r->state, cursor_uleb(c));
		set_cfa_offset(r, (int64_t)cursor_uleb(c), 1);
		break;
	case DW_CFA_def_cfa_sf:
		define_cfa(r->state, cursor_uleb(c));
		set_cfa_offset(r, cursor_sleb(c), r->program->data_factor);
		break;
	case DW_CFA_def_cfa_register: define_cfa(r->state, cursor_uleb(c)); break;
	case DW_CFA_def_cfa_offset: set_cfa_offset(r, (int64_t)cursor_uleb(c), 1); break;
	case DW_CFA_def_cfa_offset_sf:
		set_cfa_offset(r, cursor_sleb(c), r->program->data_factor);
		break;
	case DW_CFA_def_cfa_expression: define_cfa_expression(r->state, block(c)); break;
	case DW_CFA_GNU_args_size: cursor_uleb(c); break;
	default: register_op(r, op); break;
	}
}

static int step(struct run *r, struct error *err)
{
	struct cursor *c = &r->code;
	uint8_t op = cursor_uint(c, 1), low = op & 0x3f;

	switch (op & 0xc0) {
	case DW_CFA_advance_loc: return advance(r, low, err);
	case DW_CFA_offset: saved(r, low, (int64_t)cursor_uleb(c)); return 0;
	case DW_CFA_restore: restore(r, low); return 0;
	}
	switch (op) {
	case DW_CFA_set_loc: return set_loc(r, err);
	case DW_CFA_advance_loc1: return advance(r, cursor_uint(c, 1), err);
	case DW_CFA_advance_loc2: return advance(r, cursor_uint(c, 2), err);
	case DW_CFA_advance_loc4: return advance(r, cursor_uint(c, 4), err);
	}
	cfa_op(r, op);
	return 0;
}

int cfa_program_run(const struct cfa_program *p, struct cursor code, uint64_t vaddr,
                    struct cfa_state *state, struct rows *rows, struct error *err)
{
	struct run r = { .program = p, .code = code, .vaddr = vaddr, .state = state, .rows = rows };

	while (cursor_left(&r.code)) {
		int ret = step(&r, err);

		if (ret < 0)
			return ret;
	}
	if (r.code.bad)
		*state = cfa_program_start();
	return emit(&r, err);
}
