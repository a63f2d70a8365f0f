/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Runs inside a target; see agent.c for the laws that hold here. */

#include "agent/agent_unwind.h"

typedef agent_u8 u8;
typedef agent_u32 u32;
typedef agent_u64 u64;

enum {
	TRIES = 3, /* of a walk, while the list of code changes */
	/* a remembered rule in one word: type 3 bits, CFA 16, rbp 6; the pc's mark above */
	RULE_BITS = 25,
	PC_BITS = 47,
	KEY_BITS = PC_BITS + 4, /* and the generation */
	MARK_BITS = KEY_BITS - AGENT_EXACT_RULE_BITS,
	/* rt_sigframe behind the popped return address: struct ucontext; its registers from
	 * rbp on are rbp rbx rdx rax rcx rsp rip (arch/x86/include/uapi/asm/sigcontext.h) */
	UCONTEXT_RBP = 40 + 8 * 10,
	N_GREGS = 7,
};
_Static_assert(MARK_BITS + RULE_BITS == 64, "a rule and its mark are one word");

#define ODD 0x2545f4914f6cdd1dull

/* What the walk needs of the tables, read once. */
struct tables {
	const struct agent_exact_span *spans;
	u32 n_spans, generation, epoch;
	u64 published;
	u64 *rules;
	const u64 *index;
	const struct unwind_row *rows;
	u32 n_index, n_rows;
};

static inline const void *at(const struct agent_exact *x, u64 offset)
{
	return (const char *)x + offset;
}

static u64 published(const struct agent_exact *x)
{
	return __atomic_load_n(&x->published, __ATOMIC_ACQUIRE);
}

static void open_tables(const struct agent_exact *x, struct tables *t)
{
	const u64 word = published(x);
	const u32 n = word >> 8 & 0xffff;

	t->published = word;
	t->generation = word & 15;
	t->epoch = word >> 32;
	t->spans = (const struct agent_exact_span *)at(x, x->spans) +
	           (word >> 4 & 1) * AGENT_EXACT_MAX_SPANS;
	t->n_spans = n < AGENT_EXACT_MAX_SPANS ? n : AGENT_EXACT_MAX_SPANS;
	t->rules = (u64 *)at(x, x->rules);
	t->index = at(x, x->index);
	t->rows = at(x, x->rows);
	t->n_index = x->n_index;
	t->n_rows = x->n_rows;
}

/* ---- rows ---- */

static const struct agent_exact_span *find_span(const struct tables *t, u64 pc)
{
	u32 low = 0, high = t->n_spans;

	while (low < high) {
		const u32 middle = (low + high) / 2;

		if (t->spans[middle].end <= pc)
			low = middle + 1;
		else
			high = middle;
	}
	return low < t->n_spans && t->spans[low].start <= pc ? &t->spans[low] : 0;
}

/* The last row at or before @pc of the span's text, or NULL. */
static const struct unwind_row *find_row(const struct tables *t, const struct agent_exact_span *s,
                                         u64 pc)
{
	const u32 slot = pc >> UNWIND_INDEX_SHIFT;
	const struct unwind_row *rows = t->rows + s->first_row;
	u32 low, high;
	u64 word;

	/* sums of what another list may have written: none may be believed */
	if (pc >> 32 || slot >= s->n_index || (u64)s->first_index + s->n_index > t->n_index ||
	    (u64)s->first_row + s->n_rows > t->n_rows)
		return 0;
	word = t->index[s->first_index + slot];
	low = word;
	high = low + (word >> 32) + 1;
	if (high > s->n_rows)
		high = s->n_rows;
	while (low < high) {
		const u32 middle = low + (high - low) / 2;

		if (rows[middle].pc <= pc)
			low = middle + 1;
		else
			high = middle;
	}
	return low && low <= s->n_rows && rows[low - 1].pc <= pc ? &rows[low - 1] : 0;
}

/* ---- rules that are remembered ---- */

/* (pc, generation) -> as many bits, none like another: so a place and what is left
 * of the bits say which pc it was. */
static inline u64 key_of(const struct tables *t, u64 pc)
{
	return (pc | (u64)t->generation << PC_BITS) * ODD & ((1ull << KEY_BITS) - 1);
}

/* 0: not known. */
static inline u32 recall(const struct tables *t, u64 key)
{
	const u64 word = __atomic_load_n(&t->rules[key >> MARK_BITS], __ATOMIC_RELAXED);

	return word >> RULE_BITS == (key & ((1ull << MARK_BITS) - 1))
	               ? word & ((1u << RULE_BITS) - 1)
	               : 0;
}

static inline void remember(const struct tables *t, u64 key, u32 rule)
{
	__atomic_store_n(&t->rules[key >> MARK_BITS],
	                 (key & ((1ull << MARK_BITS) - 1)) << RULE_BITS | rule, __ATOMIC_RELAXED);
}

static u32 look_up(struct agent_unwind *w, const struct tables *t, u64 key, u8 *rbp_slot)
{
	const struct agent_exact_span *s = find_span(t, w->pc);
	const struct unwind_row *row = s ? find_row(t, s, w->pc - !w->exact - s->text) : 0;
	u32 rule;

	w->stop = s ? UNWIND_STOP_NO_TABLE : UNWIND_STOP_NO_MODULE;
	if (!row || row->type == UNWIND_NONE || row->type > 7)
		return 0;
	*rbp_slot = row->rbp_slot;
	rule = row->type | (u32)(unsigned short)row->cfa_offset << 3;
	if (!w->exact && row->rbp_slot < 64 && !(w->pc >> PC_BITS) && t->generation)
		remember(t, key, rule | (u32)row->rbp_slot << 19);
	return rule;
}

/* Type and CFA of the row at the pc, 0: none. */
static inline u32 rule_at(struct agent_unwind *w, const struct tables *t, u8 *rbp_slot)
{
	const u64 key = key_of(t, w->pc);
	const u32 known = w->exact || w->pc >> PC_BITS ? 0 : recall(t, key);

	if (!known)
		return look_up(w, t, key, rbp_slot);
	*rbp_slot = known >> 19;
	return known & ((1u << 19) - 1);
}

/* ---- steps ---- */

static inline int read_word(struct agent_unwind *w, u64 address, u64 *ret)
{
	u64 value;

	if (address & 7 || address < w->here.start || address > w->here.end - 8)
		return 0;
	value = *(const u64 *)address;
	*ret = value;
	if (w->words && w->n_words < AGENT_EXACT_MEMO_WORDS) {
		w->words[w->n_words].at = address;
		w->words[w->n_words].value = value;
	}
	w->n_words++;
	return 1;
}

static int move_to(struct agent_unwind *w, u64 sp)
{
	if (sp >= w->here.start && sp < w->here.end)
		return 1;
	for (u32 i = 0; i < 2; i++) {
		if (sp < w->others[i].start || sp >= w->others[i].end)
			continue;
		w->here.start = sp;
		w->here.end = w->others[i].end;
		return 1;
	}
	return 0;
}

/* The frame under a signal handler, which may be on another stack. */
static int step_signal(struct agent_unwind *w)
{
	const u64 from = w->sp + UCONTEXT_RBP;
	u64 regs[N_GREGS];

	w->has_signal = 1;
	for (u32 i = 0; i < N_GREGS; i++) {
		if (!read_word(w, from + 8 * i, &regs[i]))
			return 0;
	}
	w->bp = regs[0];
	w->sp = regs[5];
	w->pc = regs[6];
	w->exact = 1;
	return move_to(w, w->sp);
}

static inline int cfa_of(struct agent_unwind *w, u32 type, short offset, u64 *cfa)
{
	if (type == UNWIND_RBP || type == UNWIND_RBP_DEREF)
		w->uses_bp |= !w->bp_was_read;
	if (type == UNWIND_RSP)
		*cfa = w->sp + (long long)offset;
	else if (type == UNWIND_RBP)
		*cfa = w->bp + (long long)offset;
	else if (type == UNWIND_PLT)
		*cfa = w->sp + 8 + ((w->pc & 15) >= 11 ? 8 : 0);
	else if (type == UNWIND_RSP_FAR)
		*cfa = w->sp + 8 * (long long)offset;
	else
		return read_word(w, w->bp + (long long)offset, cfa); /* UNWIND_RBP_DEREF */
	return 1;
}

static inline int step(struct agent_unwind *w, u32 rule, u8 rbp_slot)
{
	const u32 type = rule & 7;
	u64 cfa, bp = w->bp;

	if (type == UNWIND_SIGNAL)
		return step_signal(w);
	if (!cfa_of(w, type, (short)(rule >> 3), &cfa))
		return 0;
	/* a caller's frame is above; else a damaged stack could make us go round */
	if (cfa <= w->sp || !read_word(w, cfa - 8, &w->pc))
		return 0;
	if (type == UNWIND_RBP_DEREF) {
		if (!read_word(w, w->bp, &bp))
			return 0;
	} else if (rbp_slot && !read_word(w, cfa - 8 * (u64)rbp_slot, &bp)) {
		return 0;
	}
	w->bp_was_read |= rbp_slot || type == UNWIND_RBP_DEREF;
	w->bp = bp;
	w->sp = cfa;
	w->exact = 0;
	return 1;
}

static void walk(const struct tables *t, struct agent_unwind *w, u64 *pcs)
{
	u64 hash = t->epoch + 1;
	u8 rbp_slot = 0;
	u32 n = 0;

	w->stop = UNWIND_STOP_DEEP;
	while (n < UNWIND_MAX_FRAMES) {
		const u64 noted = w->pc | (w->exact ? AGENT_EXACT_PC_EXACT : 0);
		u32 rule;

		if (n && !w->pc) {
			w->stop = UNWIND_STOP_END;
			break;
		}
		pcs[n++] = noted;
		hash = (hash ^ noted) * 0x9e3779b97f4a7c15ull;
		hash ^= hash >> 29;
		rule = rule_at(w, t, &rbp_slot);
		if (!rule)
			break; /* which look_up() has said */
		if ((rule & 7) == UNWIND_END || !step(w, rule, rbp_slot)) {
			w->stop = (rule & 7) == UNWIND_END ? UNWIND_STOP_END
			                                   : UNWIND_STOP_BAD_STACK;
			break;
		}
		w->stop = UNWIND_STOP_DEEP;
	}
	w->n = n;
	w->epoch = t->epoch;
	w->hash = hash ^ w->stop;
}

void agent_unwind_walk(const struct agent_exact *x, struct agent_unwind *w, u64 *pcs)
{
	const struct agent_unwind begin = *w;
	struct tables t;

	for (u32 i = 0; i < TRIES; i++) {
		*w = begin;
		w->n_words = w->has_signal = w->bp_was_read = w->uses_bp = 0;
		open_tables(x, &t);
		walk(&t, w, pcs);
		w->published = t.published;
		if (published(x) == t.published)
			return;
	}
	/* what was seen is a mixture: only where it began is known */
	w->published = 0;
	w->n = 1;
	w->stop = UNWIND_STOP_NO_MODULE;
	w->hash = (pcs[0] ^ t.epoch) * ODD;
}
