/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/postgres/pg_plan.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

enum {
	OFFSET_SHIFT = 34,   /* MEMORYCHUNK_BLOCKOFFSET_BASEBIT, 16 to 18 */
	OLD_SLAB_STRIDE = 8, /* fullChunkSize in SlabContext, after the header */
};

/* A text that grows; what does not fit is noticed at the end. */
struct text {
	char *to;
	size_t used;
};

static void add(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add(struct text *t, const char *fmt, ...)
{
	size_t left = t->used < PG_PLAN_TEXT_BYTES ? PG_PLAN_TEXT_BYTES - t->used : 0;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(left ? t->to + t->used : NULL, left, fmt, ap);
	va_end(ap);
	t->used += n > 0 ? n : 0;
}

bool pg_plan_wanted(const struct pg_methods *methods, enum pg_class c, enum pg_method m)
{
	const struct pg_table *t = &methods->tables[c];

	if (!t->found || !t->method[m] || c == PG_ALIGNED)
		return false;
	/* pfree() and repalloc() of a Bump chunk are errors */
	return c != PG_BUMP || (m != PG_FREE && m != PG_REALLOC);
}

enum plan_role pg_plan_role(enum pg_method m)
{
	static const enum plan_role roles[PG_N_METHODS] = {
		[PG_ALLOC] = PLAN_ALLOC, [PG_FREE] = PLAN_FREE,    [PG_REALLOC] = PLAN_REALLOC,
		[PG_RESET] = PLAN_RESET, [PG_DELETE] = PLAN_RESET,
	};

	return roles[m];
}

unsigned pg_plan_asked(const struct pg_layout *l, enum pg_method m)
{
	if (m == PG_ALLOC)
		return 2;
	return m != PG_REALLOC ? 0 : l->methods.chunk_word ? 2 : 3;
}

/* SIZE of the chunk that operand @p ("RET", "ARG0") points to. */
static void add_old_size(struct text *t, const struct pg_layout *l, enum pg_class c, const char *p)
{
	switch (c) {
	case PG_GENERATION: add(t, " %s LD8:-24 ADDI24 SIZE", p); break;
	case PG_SLAB: add(t, " ARG0 LD8:%u SIZE", l->header + OLD_SLAB_STRIDE); break;
	default: add(t, " %s LD8:-16 ADDI16 SIZE", p); break;
	}
}

static void add_size(struct text *t, const struct pg_layout *l, enum pg_class c, const char *p)
{
	unsigned bits = l->methods.id_bits;

	switch (c) {
	case PG_BUMP: add(t, " ARG1 ADDI7 ANDI-8 SIZE"); break;
	case PG_SLAB: add(t, " %s LD8:-8 SHRI%u ANDI0x3fffffff ADDI8 SIZE", p, bits + 1); break;
	case PG_GENERATION:
		add(t, " %s LD8:-8 ST0 SHRI%u ANDI1 SKNZ5", p, bits);
		add(t, " LDT0 SHRI%u ANDI0x3fffffff ADDI8 SKNZ3", bits + 1);
		add(t, " %s LD8:-40 ADDI-56 SIZE", p); /* blksize less the block's header */
		break;
	default:
		add(t, " %s LD8:-8 ST0 SHRI%u ANDI1 SKNZ8", p, bits);
		add(t, " LDT0 SHRI%u ANDI0x3fffffff ST1 IMM8 SHLV1 ADDI8 SKNZ5", bits + 1);
		add(t, " %s ST0 LD8:-16 SUB0 ADDI8 SIZE",
		    p); /* from the chunk to the block's end */
		break;
	}
}

/* CTX from the pointer returned alone (16+: realloc is not told the context):
 * the owner word of its block. */
static void add_owner(struct text *t, const struct pg_layout *l, enum pg_class c)
{
	bool generation = c == PG_GENERATION;

	add(t, " RET LD8:-8 ST0 SHRI%u ANDI1 SKNZ8", l->methods.id_bits);
	/* the low bit of the offset is shared with the value (17+) */
	add(t, " LDT0 SHRI%d ANDI-2 ST1 RET SUB1 LD8:%d SKNZ2", OFFSET_SHIFT, generation ? 8 : -8);
	add(t, " RET LD8:-48 CTX"); /* both classes: 48 bytes before an external chunk */
}

static void add_alloc(struct text *t, const struct pg_layout *l, enum pg_class c)
{
	add(t, "RET PTR SKNZ1 END");
	if (l->methods.chunk_word)
		add_size(t, l, c, "RET");
	else
		add_old_size(t, l, c, "RET");
	add(t, " ARG0 CTX END");
}

static void add_free(struct text *t, const struct pg_layout *l, enum pg_class c)
{
	if (l->methods.chunk_word) {
		add(t, "ARG0 PTR END");
		add_size(t, l, c, "ARG0");
	} else {
		add(t, "ARG1 PTR END");
		add_old_size(t, l, c, "ARG1");
	}
	add(t, " END");
}

static void add_realloc(struct text *t, const struct pg_layout *l, enum pg_class c)
{
	bool word = l->methods.chunk_word;

	add(t, "%s OLD END RET PTR SKNZ3 IMM1 SIZE END", word ? "ARG0" : "ARG1");
	if (word) {
		add_size(t, l, c, "RET");
		add_owner(t, l, c);
	} else {
		add_old_size(t, l, c, "RET");
		add(t, " ARG0 CTX");
	}
	add(t, " END");
}

int pg_plan_text(const struct pg_layout *l, enum pg_class c, enum pg_method m,
                 char text[PG_PLAN_TEXT_BYTES], struct error *err)
{
	struct text t = { text, 0 };

	switch (m) {
	case PG_ALLOC: add_alloc(&t, l, c); break;
	case PG_FREE: add_free(&t, l, c); break;
	case PG_REALLOC: add_realloc(&t, l, c); break;
	default: add(&t, "ARG0 CTX END"); break;
	}
	if (t.used >= PG_PLAN_TEXT_BYTES)
		return error_set(err, E2BIG, "plan of %s%s", pg_methods_class_name(c),
		                 pg_methods_method_name(m));
	return 0;
}
