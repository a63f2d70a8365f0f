/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "inject/seccomp.h"

#include <string.h>

enum { MEMORY_WORDS = BPF_MEMWORDS };

struct machine {
	uint32_t a, x;
	uint32_t memory[MEMORY_WORDS];
	const struct seccomp_data *data;
};

/* A word of what the filter looks at: whole words only (seccomp_check_filter()). */
static bool load_data(struct machine *m, uint32_t at)
{
	if (at % 4 || at >= sizeof(*m->data))
		return false;
	memcpy(&m->a, (const char *)m->data + at, sizeof(m->a));
	return true;
}

/* BPF_LD, BPF_LDX; false: there is no such instruction. */
static bool load(struct machine *m, const struct sock_filter *i)
{
	uint32_t *to = BPF_CLASS(i->code) == BPF_LD ? &m->a : &m->x;

	switch (i->code) {
	case BPF_LD | BPF_W | BPF_ABS: return load_data(m, i->k);
	case BPF_LD | BPF_W | BPF_LEN:
	case BPF_LDX | BPF_W | BPF_LEN: *to = sizeof(*m->data); return true;
	case BPF_LD | BPF_IMM:
	case BPF_LDX | BPF_IMM: *to = i->k; return true;
	case BPF_LD | BPF_MEM:
	case BPF_LDX | BPF_MEM:
		if (i->k >= MEMORY_WORDS)
			return false;
		*to = m->memory[i->k];
		return true;
	default: return false;
	}
}

static bool store(struct machine *m, const struct sock_filter *i)
{
	if ((i->code != BPF_ST && i->code != BPF_STX) || i->k >= MEMORY_WORDS)
		return false;
	m->memory[i->k] = i->code == BPF_ST ? m->a : m->x;
	return true;
}

/* False: no such instruction, or a division by zero, which ends a filter with 0: a kill. */
static bool calculate(struct machine *m, const struct sock_filter *i)
{
	const uint32_t v = BPF_SRC(i->code) == BPF_X ? m->x : i->k;

	switch (BPF_OP(i->code)) {
	case BPF_ADD: m->a += v; return true;
	case BPF_SUB: m->a -= v; return true;
	case BPF_MUL: m->a *= v; return true;
	case BPF_DIV:
		if (v)
			m->a /= v;
		return v != 0;
	case BPF_OR: m->a |= v; return true;
	case BPF_AND: m->a &= v; return true;
	case BPF_XOR: m->a ^= v; return true;
	case BPF_LSH: m->a <<= v & 31; return true;
	case BPF_RSH: m->a >>= v & 31; return true;
	case BPF_NEG: m->a = -m->a; return true;
	default: return false;
	}
}

/* How many instructions are skipped; -1: no such instruction. */
static int64_t jump(const struct machine *m, const struct sock_filter *i)
{
	const uint32_t v = BPF_SRC(i->code) == BPF_X ? m->x : i->k;
	bool is_true;

	if (i->code == (BPF_JMP | BPF_JA))
		return i->k;
	switch (BPF_OP(i->code)) {
	case BPF_JEQ: is_true = m->a == v; break;
	case BPF_JGT: is_true = m->a > v; break;
	case BPF_JGE: is_true = m->a >= v; break;
	case BPF_JSET: is_true = m->a & v; break;
	default: return -1;
	}
	return is_true ? i->jt : i->jf;
}

static bool transfer(struct machine *m, const struct sock_filter *i)
{
	if (i->code == (BPF_MISC | BPF_TAX))
		m->x = m->a;
	else if (i->code == (BPF_MISC | BPF_TXA))
		m->a = m->x;
	else
		return false;
	return true;
}

uint32_t seccomp_run(const struct sock_filter *code, size_t n, const struct seccomp_data *d)
{
	struct machine m = { .data = d };
	bool known = n <= SECCOMP_MAX_INSNS;

	for (size_t at = 0; known && at < n; at++) {
		const struct sock_filter *i = &code[at];
		int64_t skip = 0;

		if (i->code > UINT8_MAX)
			break;
		switch (BPF_CLASS(i->code)) {
		case BPF_LD:
		case BPF_LDX: known = load(&m, i); break;
		case BPF_ST:
		case BPF_STX: known = store(&m, i); break;
		case BPF_ALU: known = calculate(&m, i); break;
		case BPF_JMP: skip = jump(&m, i); break;
		case BPF_RET:
			if (i->code == (BPF_RET | BPF_K))
				return i->k;
			if (i->code == (BPF_RET | BPF_A))
				return m.a;
			known = false;
			break;
		default: known = transfer(&m, i);
		}
		known = known && skip >= 0;
		at += known ? (size_t)skip : 0;
	}
	return SECCOMP_RET_KILL_PROCESS;
}

bool seccomp_is_allowed(uint32_t answer)
{
	const uint32_t action = answer & SECCOMP_RET_ACTION_FULL;

	return action == SECCOMP_RET_ALLOW || action == SECCOMP_RET_LOG;
}

const char *seccomp_text(uint32_t answer)
{
	switch (answer & SECCOMP_RET_ACTION_FULL) {
	case SECCOMP_RET_KILL_PROCESS: return "kills the process";
	case SECCOMP_RET_KILL_THREAD: return "kills the thread";
	case SECCOMP_RET_TRAP: return "sends it a signal";
	case SECCOMP_RET_ERRNO: return "lets it fail";
	case SECCOMP_RET_USER_NOTIF: return "asks another process";
	case SECCOMP_RET_TRACE: return "asks a tracer";
	case SECCOMP_RET_LOG:
	case SECCOMP_RET_ALLOW: return "allows it";
	default: return "kills the process"; /* seccomp_run_filters(): what is not known */
	}
}
