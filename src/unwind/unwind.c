/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "unwind/unwind.h"
#include "base/search.h"

#include <stdbool.h>

enum {
	/* rt_sigframe behind the popped return address: struct ucontext, whose
	 * gregs begin at +40 (Linux, arch/x86/include/uapi/asm/ucontext.h and
	 * sigcontext.h); from rbp on they are rbp rbx rdx rax rcx rsp rip */
	UCONTEXT_RBP = 40 + 8 * 10,
	GREG_RBP = 0,
	GREG_RSP = 5,
	GREG_RIP = 6,
	N_GREGS,
};

struct walk {
	struct unwind_regs regs;
	bool exact; /* pc is where the frame stopped, not a return address */
	unwind_read read;
	void *arg;
};

static const struct unwind_module *module_at(const struct unwind_module *modules, size_t n,
                                             uint64_t pc)
{
	size_t behind = partition_point(n, i, modules[i].start <= pc);

	return behind && pc < modules[behind - 1].end ? &modules[behind - 1] : NULL;
}

static bool read_word(const struct walk *w, uint64_t addr, uint64_t *ret)
{
	return w->read(w->arg, addr, ret, sizeof(*ret)) >= 0;
}

static bool step_signal(struct walk *w)
{
	uint64_t regs[N_GREGS];

	if (w->read(w->arg, w->regs.sp + UCONTEXT_RBP, regs, sizeof(regs)) < 0)
		return false;
	w->regs = (struct unwind_regs){ regs[GREG_RIP], regs[GREG_RSP], regs[GREG_RBP] };
	w->exact = true;
	return true;
}

static bool cfa_of(const struct walk *w, const struct unwind_row *row, uint64_t *cfa)
{
	const struct unwind_regs *r = &w->regs;

	switch (row->type) {
	case UNWIND_RSP: *cfa = r->sp + row->cfa_offset; return true;
	case UNWIND_RSP_FAR: *cfa = r->sp + 8 * (int64_t)row->cfa_offset; return true;
	case UNWIND_RBP: *cfa = r->bp + row->cfa_offset; return true;
	case UNWIND_PLT: *cfa = r->sp + 8 + ((r->pc & 15) >= 11 ? 8 : 0); return true;
	default: return read_word(w, r->bp + row->cfa_offset, cfa); /* UNWIND_RBP_DEREF */
	}
}

/* To the caller's registers; false: the stack can't be read. */
static bool step(struct walk *w, const struct unwind_row *row)
{
	uint64_t cfa, bp = w->regs.bp, bp_at;

	if (row->type == UNWIND_SIGNAL)
		return step_signal(w);
	if (!cfa_of(w, row, &cfa))
		return false;
	/* a caller's frame is above; else a damaged stack could make us go round */
	if (cfa <= w->regs.sp || !read_word(w, cfa - 8, &w->regs.pc))
		return false;
	bp_at = row->type == UNWIND_RBP_DEREF ? w->regs.bp : cfa - 8 * row->rbp_slot;
	if ((row->type == UNWIND_RBP_DEREF || row->rbp_slot) && !read_word(w, bp_at, &bp))
		return false;
	w->regs.bp = bp;
	w->regs.sp = cfa;
	w->exact = false;
	return true;
}

static const struct unwind_row *row_at(const struct walk *w, const struct unwind_module *m)
{
	/* a return address may be the next function's first byte */
	return m->table ? unwind_table_find(m->table, w->regs.pc - !w->exact - m->bias) : NULL;
}

size_t unwind_walk(const struct unwind_module *modules, size_t n_modules, struct unwind_regs regs,
                   unwind_read read, void *arg, uint64_t *pcs, size_t max, enum unwind_stop *stop)
{
	struct walk w = { .regs = regs, .exact = true, .read = read, .arg = arg };
	size_t n = 0;

	for (; n < max; n++) {
		const struct unwind_module *m;
		const struct unwind_row *row;

		if (n && !w.regs.pc) {
			*stop = UNWIND_STOP_END;
			return n;
		}
		pcs[n] = w.regs.pc;
		m = module_at(modules, n_modules, w.regs.pc);
		row = m ? row_at(&w, m) : NULL;
		if (!row || row->type == UNWIND_NONE || row->type == UNWIND_END) {
			*stop = !m                 ? UNWIND_STOP_NO_MODULE
			        : row && row->type ? UNWIND_STOP_END
			                           : UNWIND_STOP_NO_TABLE;
			return n + 1;
		}
		if (!step(&w, row)) {
			*stop = UNWIND_STOP_BAD_STACK;
			return n + 1;
		}
	}
	*stop = UNWIND_STOP_DEEP;
	return n;
}
