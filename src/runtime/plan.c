/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/plan.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

enum operand {
	OPERAND_NONE,
	OPERAND_ARG,
	OPERAND_TMP,
	OPERAND_REGISTER,
	OPERAND_SHIFT,
	OPERAND_SKIP,
	OPERAND_INT
};

/* Indexed by enum plan_op. */
static const struct word {
	const char *name;
	enum operand operand;
} words[PLAN_N_OPS] = {
	[PLAN_END] = { "END", OPERAND_NONE },     [PLAN_ARG] = { "ARG", OPERAND_ARG },
	[PLAN_RET] = { "RET", OPERAND_NONE },     [PLAN_IMM] = { "IMM", OPERAND_INT },
	[PLAN_ADDI] = { "ADDI", OPERAND_INT },    [PLAN_ANDI] = { "ANDI", OPERAND_INT },
	[PLAN_SHRI] = { "SHRI", OPERAND_SHIFT },  [PLAN_SHLI] = { "SHLI", OPERAND_SHIFT },
	[PLAN_LD8] = { "LD8:", OPERAND_INT },     [PLAN_LD4] = { "LD4:", OPERAND_INT },
	[PLAN_ST] = { "ST", OPERAND_TMP },        [PLAN_LDT] = { "LDT", OPERAND_TMP },
	[PLAN_ADD] = { "ADD", OPERAND_TMP },      [PLAN_SUB] = { "SUB", OPERAND_TMP },
	[PLAN_MUL] = { "MUL", OPERAND_ARG },      [PLAN_SHLV] = { "SHLV", OPERAND_TMP },
	[PLAN_SKZ] = { "SKZ", OPERAND_SKIP },     [PLAN_SKNZ] = { "SKNZ", OPERAND_SKIP },
	[PLAN_PTR] = { "PTR", OPERAND_NONE },     [PLAN_SIZE] = { "SIZE", OPERAND_NONE },
	[PLAN_CTX] = { "CTX", OPERAND_NONE },     [PLAN_OLD] = { "OLD", OPERAND_NONE },
	[PLAN_REG] = { "REG", OPERAND_REGISTER }, [PLAN_WEIGHT] = { "WEIGHT", OPERAND_NONE },
};

static const struct {
	long min, max;
} limits[] = {
	[OPERAND_ARG] = { 0, 3 },
	[OPERAND_TMP] = { 0, 3 },
	[OPERAND_REGISTER] = { 0, 15 },
	[OPERAND_SHIFT] = { 0, 63 },
	[OPERAND_SKIP] = { 1, PLAN_MAX_UOPS },
	[OPERAND_INT] = { INT_MIN, INT_MAX },
};

/* The longest name that @word begins with ("ADDI" before "ADD"); -1: none. */
static int find_op(const char *word)
{
	int best = -1;
	size_t best_len = 0;

	for (int op = 0; op < PLAN_N_OPS; op++) {
		size_t len = strlen(words[op].name);

		if (len > best_len && !strncmp(word, words[op].name, len)) {
			best = op;
			best_len = len;
		}
	}
	return best;
}

static int parse_word(const char *word, struct plan_uop *ret, struct error *err)
{
	int op = find_op(word);
	const char *number;
	char *end;
	long v = 0;

	if (op < 0)
		return error_set(err, EINVAL, "probe plan: \"%s\" is not an operation", word);
	number = word + strlen(words[op].name);
	if (words[op].operand == OPERAND_NONE) {
		if (*number)
			return error_set(err, EINVAL, "probe plan: \"%s\": %s takes no number",
			                 word, words[op].name);
	} else {
		errno = 0;
		v = strtol(number, &end, 0);
		if (end == number || *end || errno || v < limits[words[op].operand].min ||
		    v > limits[words[op].operand].max)
			return error_set(err, EINVAL, "probe plan: \"%s\" has no valid number",
			                 word);
	}
	*ret = (struct plan_uop){ .op = op, .n = v & 255, .imm = v };
	return 0;
}

/* Roles whose first END begins a second section. */
static bool has_sections(enum plan_role role)
{
	return role == PLAN_REALLOC || role == PLAN_FREE;
}

static bool section_has(const struct plan_code *c, unsigned from, unsigned to, enum plan_op op)
{
	for (unsigned i = from; i < to; i++)
		if (c->uops[i].op == op)
			return true;
	return false;
}

static int need(const struct plan_code *c, unsigned from, unsigned to, enum plan_op op,
                struct error *err)
{
	if (section_has(c, from, to, op))
		return 0;
	return error_set(err, EINVAL, "probe plan: %s is missing%s", words[op].name,
	                 from ? " after the first END" : "");
}

/* A skip stays inside its section and lands on an operation; RET exists only
 * after the call. */
static int check_section(const struct plan_code *c, unsigned from, unsigned to, bool at_return,
                         struct error *err)
{
	for (unsigned i = from; i < to; i++) {
		const struct plan_uop *u = &c->uops[i];

		if ((u->op == PLAN_SKZ || u->op == PLAN_SKNZ) && i + 1 + u->n >= to)
			return error_set(err, EINVAL,
			                 "probe plan: %s%d skips past its section's end",
			                 words[u->op].name, u->n);
		if (u->op == PLAN_RET && !at_return)
			return error_set(err, EINVAL, "probe plan: RET in a section run at entry");
	}
	if (from == to || c->uops[to - 1].op != PLAN_END)
		return error_set(err, EINVAL, "probe plan: the last word must be END");
	return 0;
}

static int check_role(const struct plan_code *c, struct error *err)
{
	unsigned first_end = c->second ? c->second : c->n;
	int r = check_section(c, 0, first_end, c->role == PLAN_ALLOC, err);

	if (!r && c->second)
		r = check_section(c, c->second, c->n, c->role == PLAN_REALLOC, err);
	if (r < 0)
		return r;
	switch (c->role) {
	case PLAN_ALLOC:
		r = need(c, 0, c->n, PLAN_PTR, err);
		return r < 0 ? r : need(c, 0, c->n, PLAN_SIZE, err);
	case PLAN_REALLOC:
		if (!c->second)
			return error_set(err, EINVAL, "probe plan: a realloc needs two sections");
		r = need(c, 0, first_end, PLAN_OLD, err);
		if (!r)
			r = need(c, c->second, c->n, PLAN_PTR, err);
		return r < 0 ? r : need(c, c->second, c->n, PLAN_SIZE, err);
	case PLAN_FREE:
		r = need(c, 0, first_end, PLAN_PTR, err);
		return r < 0 || !c->second ? r : need(c, c->second, c->n, PLAN_SIZE, err);
	case PLAN_MARK:
		r = need(c, 0, c->n, PLAN_PTR, err);
		if (r == 0)
			r = need(c, 0, c->n, PLAN_SIZE, err);
		return r < 0 ? r : need(c, 0, c->n, PLAN_WEIGHT, err);
	case PLAN_RESET: return need(c, 0, c->n, PLAN_CTX, err);
	default: return error_set(err, EINVAL, "probe plan: no such role");
	}
}

int plan_compile(enum plan_role role, const char *text, struct plan_code *ret, struct error *err)
{
	cleanup_free char *copy = strdup(text);
	struct plan_code c = { .role = role };
	char *save = NULL;
	int r;

	if (!copy)
		return error_oom(err);
	for (char *w = strtok_r(copy, " \t\n", &save); w; w = strtok_r(NULL, " \t\n", &save)) {
		if (c.n == PLAN_MAX_UOPS)
			return error_set(err, EINVAL,
			                 "probe plan: more than %d operations at \"%s\"",
			                 PLAN_MAX_UOPS, w);
		if (c.n && !c.second && has_sections(role) && c.uops[c.n - 1].op == PLAN_END)
			c.second = c.n;
		r = parse_word(w, &c.uops[c.n], err);
		if (r < 0)
			return r;
		c.n++;
	}
	r = check_role(&c, err);
	if (r < 0)
		return r;
	*ret = c;
	return 0;
}

unsigned plan_arguments(const struct plan_code *code)
{
	unsigned used = 0;

	for (unsigned i = 0; i < code->n; i++)
		if (code->uops[i].op == PLAN_ARG || code->uops[i].op == PLAN_MUL)
			used |= 1u << code->uops[i].n;
	if (code->asked)
		used |= 1u << (code->asked - 1);
	return used;
}

void plan_move_arguments(struct plan_code *code, const unsigned char where[4])
{
	for (unsigned i = 0; i < code->n; i++) {
		struct plan_uop *u = &code->uops[i];

		if (u->op != PLAN_ARG && u->op != PLAN_MUL)
			continue;
		u->n = where[u->n & 3];
		u->imm = u->n;
	}
	if (code->asked)
		code->asked = 1u + where[(code->asked - 1) & 3];
}

struct machine {
	unsigned long long acc, tmp[4];
	const unsigned long long *arg;
	unsigned long long ret;
};

/* Operations that only compute. */
static void compute(struct machine *m, const struct plan_uop *u)
{
	switch (u->op) {
	case PLAN_ARG: m->acc = m->arg[u->n & 3]; break;
	case PLAN_RET: m->acc = m->ret; break;
	case PLAN_IMM: m->acc = (long long)u->imm; break;
	case PLAN_ADDI: m->acc += (long long)u->imm; break;
	case PLAN_ANDI: m->acc &= (long long)u->imm; break;
	case PLAN_SHRI: m->acc >>= u->imm & 63; break;
	case PLAN_SHLI: m->acc <<= u->imm & 63; break;
	case PLAN_ST: m->tmp[u->n & 3] = m->acc; break;
	case PLAN_LDT: m->acc = m->tmp[u->n & 3]; break;
	case PLAN_ADD: m->acc += m->tmp[u->n & 3]; break;
	case PLAN_SUB: m->acc -= m->tmp[u->n & 3]; break;
	case PLAN_MUL: m->acc *= m->arg[u->n & 3]; break;
	case PLAN_SHLV: m->acc <<= m->tmp[u->n & 3] & 63; break;
	}
}

int plan_run(const struct plan_code *code, unsigned from, const unsigned long long arg[4],
             unsigned long long ret,
             int (*read)(void *ctx, unsigned long long addr, void *buf, unsigned len), void *ctx,
             unsigned long long out[4])
{
	struct machine m = { .arg = arg, .ret = ret };

	for (unsigned i = from; i < code->n && i < PLAN_MAX_UOPS; i++) {
		const struct plan_uop *u = &code->uops[i];
		unsigned len = u->op == PLAN_LD4 ? 4 : 8;
		unsigned long long v = 0;

		switch (u->op) {
		case PLAN_END: return 0;
		case PLAN_LD4:
		case PLAN_LD8:
			if (read(ctx, m.acc + (long long)u->imm, &v, len) < 0)
				return -EFAULT;
			m.acc = v;
			break;
		case PLAN_SKZ: i += m.acc ? 0 : u->n; break;
		case PLAN_SKNZ: i += m.acc ? u->n : 0; break;
		case PLAN_PTR: out[0] = m.acc; break;
		case PLAN_SIZE: out[1] = m.acc; break;
		case PLAN_CTX: out[2] = m.acc; break;
		case PLAN_OLD: out[3] = m.acc; break;
		default: compute(&m, u);
		}
	}
	return 0;
}
