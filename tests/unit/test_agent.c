/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Which functions may be patched; and the agent at work in this process: functions
 * written by hand, patched, called, so that every result has a known truth. */

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "alloc/agent_cpu.h"
#include "alloc/agent_health.h"
#include "alloc/agent_image.h"
#include "base/array.h"
#include "base/cleanup.h"
#include "runtime/plan.h"

#define PUSH_R12 "\x41\x54"
#define PUSH_RBP "\x55"
#define PUSH_RBX "\x53"
#define SUB_24   "\x48\x83\xec\x18"
#define ADD_24   "\x48\x83\xc4\x18"
#define MOV_BX   "\x48\x89\xfb" /* mov rbx, rdi */
#define TEST_DI  "\x48\x85\xff"
#define NOPS     "\x90\x90\x90\x90\x90\x90\x90\x90"
#define RET      "\xc3"

static const struct runtime_probe some_probe = { .name = "f" };

static int head_at(const char *code, size_t len, uint64_t start, struct agent_patch *p,
                   struct error *err)
{
	const struct code_function c = { (uint8_t *)code, len, start, true };

	*p = (struct agent_patch){ .probe = &some_probe };
	return agent_patch_head(&some_probe, &c, 0, p, err);
}

#define ACCEPTED(code, at_, end_)                                                                  \
	do {                                                                                       \
		struct agent_patch p;                                                              \
		struct error err;                                                                  \
		assert_int_equal(head_at(code, sizeof(code) - 1, 0x1000, &p, &err), 0);            \
		assert_int_equal(p.at, 0x1000 + (at_));                                            \
		assert_int_equal(p.end, 0x1000 + (end_));                                          \
		assert_memory_equal(p.was, code + (at_), AGENT_PATCH_BYTES);                       \
	} while (0)

#define REFUSED(code, why)                                                                         \
	do {                                                                                       \
		struct agent_patch p;                                                              \
		struct error err = { 0 };                                                          \
		assert_int_equal(head_at(code, sizeof(code) - 1, 0x1000, &p, &err), -ENOTSUP);     \
		assert_non_null(strstr(err.message, why));                                         \
	} while (0)

static void what_may_be_patched(void **state)
{
	ACCEPTED(PUSH_R12 PUSH_RBP PUSH_RBX MOV_BX NOPS RET, 2, 7);
	/* glibc's free: the branch is one instruction of six bytes */
	ACCEPTED(TEST_DI "\x0f\x84\x05\x00\x00\x00" NOPS RET, 3, 9);
	ACCEPTED("\xf3\x0f\x1e\xfa" PUSH_RBP MOV_BX PUSH_RBX NOPS RET, 4, 9);
	ACCEPTED(SUB_24 NOPS ADD_24 RET, 4, 9);
	ACCEPTED(PUSH_RBP MOV_BX "\xe8\x00\x00\x00\x00" NOPS RET, 1, 9); /* call */
	/* tcmalloc's malloc, jemalloc's free */
	ACCEPTED("\x48\x8b\x05\x39\x3b\x01\x00" NOPS RET, 7, 12);       /* mov rax, [rip+n] */
	ACCEPTED(PUSH_RBP MOV_BX "\xe8\x00\x00\x00\x00\x5d" RET, 1, 9); /* a call, the last */
	ACCEPTED("\x48\x89\xf8" NOPS RET, 3, 8);                        /* mov rax, rdi */
}

#define CMPB    "\x80\x3d\x00\x00\x00\x00\x00" /* cmp byte [rip+n], 0 */
#define SUB_136 "\x48\x81\xec\x88\x00\x00\x00"
#define MOV_AX  "\x48\x89\xf8" /* mov rax, rdi */
#define JE_FAR  "\x0f\x84\x05\x00\x00\x00"

/* One instruction that is long enough is taken where nothing is against it. */
static void long_instructions_first(void **state)
{
	/* glibc's malloc, jemalloc's calloc, tcmalloc's calloc and realloc */
	ACCEPTED(PUSH_R12 PUSH_RBP PUSH_RBX MOV_BX SUB_24 CMPB NOPS RET, 11, 18);
	ACCEPTED(PUSH_R12 PUSH_RBX MOV_BX SUB_136 NOPS RET, 6, 13);
	ACCEPTED(MOV_AX "\x80\x38\x00" JE_FAR NOPS RET, 6, 12);
	ACCEPTED(PUSH_RBX SUB_136 TEST_DI JE_FAR NOPS RET, 1, 8);
	ACCEPTED(SUB_24 TEST_DI JE_FAR NOPS RET, 7, 13);
	/* the register is not saved, or only behind that */
	ACCEPTED(PUSH_R12 MOV_BX NOPS CMPB RET, 2, 7);
	ACCEPTED(PUSH_R12 MOV_BX PUSH_RBX "\x90" CMPB RET, 2, 7);
	/* a second time it would read what it, or one behind it, has written; or where rsp is */
	ACCEPTED(PUSH_R12 PUSH_RBX "\x48\x8d\x5b\x01\x90" CMPB RET, 2, 7);
	ACCEPTED(PUSH_R12 "\x4c\x89\xc0\x49\x89\xf8\x90" CMPB RET, 2, 8);
	ACCEPTED(PUSH_R12 PUSH_RBP "\x48\x89\xe5\x90" CMPB RET, 2, 7);
	/* a branch by flags that nobody makes again */
	ACCEPTED(MOV_AX SUB_24 "\x90" PUSH_RBX JE_FAR NOPS RET, 3, 8);
	/* a jump to behind the start: not then */
	ACCEPTED(PUSH_R12 PUSH_RBP PUSH_RBX MOV_BX SUB_24 CMPB "\xeb\xec" RET, 11, 18);
	ACCEPTED(PUSH_R12 PUSH_RBP PUSH_RBX MOV_BX SUB_24 CMPB "\xeb\xf3" RET, 2, 7);
}

static void what_may_not(void **state)
{
	REFUSED("\x48\x8b\x00" NOPS RET, "first instruction");                 /* mov rax, [rax] */
	REFUSED("\x48\x89\xfb" NOPS RET, "first instruction");                 /* mov rbx, rdi */
	REFUSED("\x88\xf8" NOPS RET, "first instruction");                     /* mov al, bh */
	REFUSED("\x48\x83\xc7\x01" NOPS RET, "first instruction");             /* add rdi, 1 */
	REFUSED("\x48\x81\xec\x00\x00\x01\x00" NOPS RET, "first instruction"); /* sub rsp, 64 K */
	REFUSED(PUSH_RBP "\xff\xd0" NOPS RET, "cannot be moved");              /* call rax */
	REFUSED(PUSH_RBP "\x5d" RET NOPS, "cannot be moved");                  /* returns */
	REFUSED(PUSH_RBP "\x74\x02" NOPS RET, "cannot be moved"); /* flags of before the call */
	REFUSED(PUSH_RBP "\xff\xe0" NOPS RET, "cannot be moved"); /* jmp rax */
	REFUSED(PUSH_RBP "\xe3\x02" NOPS RET, "cannot be moved"); /* jrcxz */
	REFUSED(PUSH_RBP PUSH_RBX MOV_BX, "too short");
	/* a jump back to the third instruction, and to the second */
	REFUSED(PUSH_RBP PUSH_RBX MOV_BX "\x90\x90\xeb\xf9" RET, "jumps back");
	REFUSED(PUSH_RBP PUSH_RBX MOV_BX "\x90\x90\xeb\xf8" RET, "jumps back");
}

static void not_across_pages(void **state)
{
	static const char code[] = PUSH_R12 PUSH_RBP PUSH_RBX MOV_BX NOPS RET;
	struct agent_patch p;
	struct error err;

	for (unsigned from_end = 0; from_end < 16; from_end++) {
		const bool crosses = from_end > 2 && from_end < 2 + AGENT_PATCH_BYTES;

		assert_int_equal(head_at(code, sizeof(code) - 1, 0x2000 - from_end, &p, &err),
		                 crosses ? -ENOTSUP : 0);
	}
}

static void what_stubs_understand(void **state)
{
	static const struct {
		enum plan_role role;
		const char *text;
		enum agent_stub_kind kind;
		unsigned asked;
	} plans[] = {
		{ PLAN_ALLOC, "RET PTR ARG0 SIZE END", AGENT_STUB_ALLOC },
		{ PLAN_ALLOC, "RET PTR ARG0 MUL1 SIZE END", AGENT_STUB_ALLOC },
		{ PLAN_ALLOC, "RET PTR ARG1 SIZE END", AGENT_STUB_ALLOC },
		{ PLAN_ALLOC, "RET PTR ARG0 ADDI8 SIZE END", AGENT_STUB_SLOW },
		{ PLAN_ALLOC, "RET SKZ3 IMM0 PTR END ARG0 LD8:0 PTR ARG2 SIZE END",
		  AGENT_STUB_SLOW },
		{ PLAN_FREE, "ARG0 PTR END", AGENT_STUB_FREE },
		{ PLAN_FREE, "ARG0 ADDI-8 PTR END", AGENT_STUB_SLOW },
		{ PLAN_REALLOC, "ARG0 OLD END RET PTR ARG1 SIZE END", AGENT_STUB_REALLOC },
		{ PLAN_REALLOC, "ARG0 OLD END RET PTR ARG1 MUL2 SIZE END", AGENT_STUB_SLOW },
		{ PLAN_RESET, "ARG0 CTX END", AGENT_STUB_RESET },
		{ PLAN_RESET, "ARG0 LD8:8 CTX END", AGENT_STUB_SLOW },
		{ PLAN_ALLOC, "RET PTR SKNZ1 END RET LD8:-8 SIZE ARG0 CTX END", AGENT_STUB_ALLOC,
		  2 },
		{ PLAN_REALLOC, "ARG1 OLD END RET PTR RET LD8:-8 SIZE ARG0 CTX END",
		  AGENT_STUB_REALLOC, 3 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(plans); i++) {
		struct plan_code code = { 0 };
		struct error err;

		assert_int_equal(plan_compile(plans[i].role, plans[i].text, &code, &err), 0);
		code.asked = plans[i].asked;
		assert_int_equal(agent_stub_understand(&code).kind, plans[i].kind);
	}
}

/* ---- the agent at work ---- */

#if defined(__x86_64__)

enum { FUNCTIONS = 7, FUNCTION_BYTES = 64 };
enum { ALLOC, ALLOC_TWO, RESIZE, RELEASE, POOL_ALLOC, POOL_RESIZE, POOL_RESET };
enum { POOL = 4096 }; /* where POOL_RESIZE has its blocks from */

static struct {
	uint8_t *base, *code;
	struct agent_image image;
	struct agent_data *data;
} at;

/* Each keeps what it must not lose, and answers something that depends on its arguments. */
static const struct {
	enum plan_role role;
	const char *plan;
	uint8_t code[FUNCTION_BYTES];
	unsigned asked, flags;
} functions[FUNCTIONS] = {
	{ PLAN_ALLOC, "RET PTR ARG0 SIZE END", /* (n) -> n + 0x100000 */
	  PUSH_R12 PUSH_RBP PUSH_RBX MOV_BX "\x48\x8d\x83\x00\x00\x10\x00\x5b\x5d\x41\x5c" RET },
	{ PLAN_ALLOC, "RET PTR ARG0 MUL1 SIZE END", /* (n, m) -> n + m + 0x200000 */
	  SUB_24 "\x48\x89\x3c\x24\x48\x8d\x84\x37\x00\x00\x20\x00\x48\x3b\x3c\x24" ADD_24 RET },
	{ PLAN_REALLOC, "ARG0 OLD END RET PTR ARG1 SIZE END", /* (p, n) -> p + n, or 0 if n is 1 */
	  PUSH_RBP "\x48\x8d\x04\x37\x48\x83\xfe\x01\x75\x02\x31\xc0\x5d" RET },
	{ PLAN_FREE, "ARG0 PTR END", /* (p) -> p + 1, 7 for none */
	  TEST_DI "\x0f\x84\x06\x00\x00\x00\x90\x48\x8d\x47\x01" RET "\xb8\x07\x00\x00\x00" RET },
	/* (pool, n) -> pool + n + 0x300000, by another function that it begins with a call of */
	{ PLAN_ALLOC, "RET PTR ARG1 ADDI16 SIZE ARG0 CTX END",
	  "\x53\xe8\x02\x00\x00\x00\x5b" RET "\x48\x8d\x84\x37\x00\x00\x30\x00" RET, 2 },
	{ PLAN_REALLOC, "ARG0 OLD END RET PTR ARG1 SIZE IMM4096 CTX END", /* as above */
	  PUSH_RBP "\x48\x8d\x04\x37\x48\x83\xfe\x01\x75\x02\x31\xc0\x5d" RET, 2, PLAN_JUMPS },
	{ PLAN_RESET, "ARG0 CTX END", /* (pool) -> pool + 2 */
	  "\x48\x89\xf8\x48\x83\xc0\x02\x90\x90\x90" RET },
};

static uint64_t call(unsigned i, uint64_t a, uint64_t b)
{
	uint64_t (*f)(uint64_t, uint64_t) = (uint64_t(*)(uint64_t, uint64_t))(
		uintptr_t)(at.code + i * FUNCTION_BYTES);

	return f(a, b);
}

static uint64_t truth(unsigned i, uint64_t a, uint64_t b)
{
	switch (i) {
	case ALLOC: return a + 0x100000;
	case ALLOC_TWO: return a + b + 0x200000;
	case RESIZE:
	case POOL_RESIZE: return b == 1 ? 0 : a + b;
	case POOL_ALLOC: return a + b + 0x300000;
	case POOL_RESET: return a + 2;
	default: return a ? a + 1 : 7;
	}
}

static void all_work(void)
{
	static const uint64_t values[] = { 0, 1, 2, 16, 100, 4096, 1u << 30, 1ull << 45, ~0ull };

	for (unsigned round = 0; round < 100; round++) {
		for (unsigned i = 0; i < FUNCTIONS; i++) {
			const uint64_t a = values[round % ARRAY_SIZE(values)];
			const uint64_t b = values[round * 7 / 3 % ARRAY_SIZE(values)];

			assert_int_equal(call(i, a, b), truth(i, a, b));
		}
	}
}

static void patch(bool set)
{
	const struct agent_table *t = agent_image_table(&at.image);

	for (unsigned i = 0; i < FUNCTIONS; i++)
		memcpy((void *)(uintptr_t)t->functions[i].patch_at,
		       set ? t->functions[i].is : t->functions[i].was, AGENT_PATCH_BYTES);
}

static void turn_on(uint64_t mean)
{
	memset(at.data, 0, sizeof(*at.data));
	at.data->control = (struct agent_control){
		.state = AGENT_ON, .deadline = ~0ull, .means = { mean }, .seed = 42
	};
}

static int set_up_for(int64_t cpu_at)
{
	static struct runtime_probe probes[FUNCTIONS];
	static struct agent_patch patches[FUNCTIONS];
	static struct tracee nobody;
	struct error err;

	free(at.image.bytes); /* of the last group */
	/* the agent, and the functions in reach of it */
	at.base = mmap(NULL, AGENT_BYTES + 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
	               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at.base == MAP_FAILED)
		return -1;
	at.code = at.base + AGENT_BYTES;
	at.data = (struct agent_data *)(void *)(at.base + AGENT_CODE_BYTES);
	for (unsigned i = 0; i < FUNCTIONS; i++) {
		struct code_function c = { at.code + i * FUNCTION_BYTES, FUNCTION_BYTES,
			                   (uintptr_t)at.code + i * FUNCTION_BYTES, true };

		memcpy(c.bytes, functions[i].code, FUNCTION_BYTES);
		while (!c.bytes[c.len - 1])
			c.len--;
		probes[i] = (struct runtime_probe){ .name = "f" };
		patches[i].probe = &probes[i];
		if (plan_compile(functions[i].role, functions[i].plan, &probes[i].code, &err) < 0)
			return -1;
		probes[i].code.asked = functions[i].asked;
		probes[i].code.flags = functions[i].flags;
		probes[i].entry = probes[i].code;
		if (agent_patch_head(&probes[i], &c, 0, &patches[i], &err) < 0) {
			error_print(&err, stderr);
			return -1;
		}
		patches[i].fast = agent_stub_understand(&probes[i].code);
	}
	at.image = (struct agent_image){
		.tracee = &nobody, .patches = patches, .n_patches = FUNCTIONS, .cpu_at = cpu_at
	};
	if (agent_image_make(&at.image, (uintptr_t)at.base, &err) < 0)
		return -1;
	memcpy(at.base, at.image.bytes, AGENT_CODE_BYTES);
	return 0;
}

static int set_up_for_threads(void **state)
{
	return set_up_for(0);
}

/* As glibc has it, but in a word of the test's own: each thread says where it is. */
static _Thread_local struct {
	uint32_t cpu_id_start, cpu_id;
} place __attribute__((tls_model("initial-exec"), aligned(8)));

static int64_t place_at(void)
{
	return (int64_t)((uintptr_t)&place - (uintptr_t)__builtin_thread_pointer()) + 3;
}

static int set_up_for_processors(void **state)
{
	return set_up_for(place_at());
}

static void functions_do_what_they_did(void **state)
{
	all_work();
	patch(true);
	/* off, as in a child of fork() */
	memset(at.data, 0, sizeof(*at.data));
	all_work();
	assert_int_equal(at.data->counters.samples, 0);
	/* hardly anything, and nearly everything is a sample */
	turn_on(1ull << 40);
	all_work();
	turn_on(16);
	all_work();
	assert_true(at.data->counters.samples > 100);
	patch(false);
	all_work();
}

/* The entries for exact mode: all calls come to the agent, or none. The code is the same, but
 * for where the functions lead to. */
static void the_other_entries(void **state)
{
	cleanup_free uint8_t *sampled = at.image.bytes;
	struct agent_table *t;
	struct error err;

	at.image.bytes = NULL;
	at.image.exact = true;
	assert_int_equal(agent_image_make(&at.image, (uintptr_t)at.base, &err), 0);
	memcpy(at.base, at.image.bytes, AGENT_CODE_BYTES);
	t = (struct agent_table *)(void *)(sampled + AGENT_TABLE_AT);
	for (unsigned i = 0; i < FUNCTIONS; i++) {
		assert_memory_not_equal(t->functions[i].is,
		                        agent_image_table(&at.image)->functions[i].is,
		                        AGENT_PATCH_BYTES);
		memcpy(t->functions[i].is, agent_image_table(&at.image)->functions[i].is,
		       AGENT_PATCH_BYTES);
	}
	assert_memory_equal(sampled, at.image.bytes, AGENT_CODE_BYTES);
	turn_on(1ull << 40);
	patch(true);
	all_work();
	assert_int_equal(at.data->counters.slow_calls, 0);
	at.data->control.exact_on = 1;
	all_work();
	/* five of the functions allocate */
	assert_int_equal(at.data->counters.slow_calls, 5 * 100);
	patch(false);
	at.image.exact = false;
	assert_int_equal(agent_image_make(&at.image, (uintptr_t)at.base, &err), 0);
	memcpy(at.base, at.image.bytes, AGENT_CODE_BYTES);
}

static unsigned held(uint64_t ptr)
{
	unsigned n = 0;

	for (unsigned b = 0; b < AGENT_BUCKETS; b++) {
		for (unsigned i = 0; i < AGENT_BUCKET_ENTRIES; i++)
			n += ptr ? at.data->entries[b][i].ptr == ptr
			         : at.data->entries[b][i].ptr != 0;
	}
	return n;
}

/* With a mean of one byte every block of a hundred is a sample, but for e^-100. */
static void every_block_is_followed(void **state)
{
	const struct agent_record *r = &at.data->records[0];
	uint64_t p;

	turn_on(1);
	patch(true);
	p = call(ALLOC, 1000, 0);
	assert_int_equal(held(p), 1);
	assert_int_equal(at.data->record_states[0], AGENT_RECORD_READY);
	assert_int_equal(r->size, 1000);
	assert_int_equal(r->seq, 1);
	assert_true(r->n_bytes >= 8 && r->n_bytes <= 4096 && !r->whole);
	/* moved, in vain, and for good */
	assert_int_equal(call(RESIZE, p, 1), 0);
	assert_int_equal(held(p), 1);
	assert_int_equal(call(RESIZE, p, 500), p + 500);
	assert_int_equal(held(p), 0);
	assert_int_equal(held(p + 500), 1);
	call(RELEASE, p + 500, 0);
	assert_int_equal(held(0), 0);
	p = call(ALLOC_TWO, 300, 4);
	assert_int_equal(held(p), 1);
	assert_int_equal(at.data->counters.samples, 3);
	call(RELEASE, p, 0);
	patch(false);
	/* nobody counts twice, nothing wraps */
	for (unsigned b = 0; b < AGENT_BUCKETS; b++)
		assert_int_equal(at.data->filter[b], 0);
}

/* As a growing array does it; what is resized to nothing is charged with that. */
static void reallocs_of_nothing_and_to_nothing_are_fast(void **state)
{
	turn_on(1ull << 40);
	patch(true);
	call(ALLOC, 1, 0); /* a countdown is drawn */
	at.data->counters.slow_calls = 0;
	for (unsigned i = 0; i < 1000; i++) {
		assert_int_equal(call(RESIZE, 0, 100), 100);
		assert_int_equal(call(RESIZE, 0x5000, 0), 0x5000);
	}
	assert_int_equal(at.data->counters.slow_calls, 0);
	/* and followed: one in 64 KiB of 100 MB */
	turn_on(64 << 10);
	for (unsigned i = 0; i < 100000; i++)
		call(RESIZE, 0, 1000);
	patch(false);
	assert_in_range(at.data->counters.samples, 1526 - 200, 1526 + 200);
	assert_true(at.data->counters.slow_calls < 3000);
}

static void a_full_set_is_counted(void **state)
{
	uint64_t p = 0x100000 + 1000, n = 0;

	turn_on(1);
	patch(true);
	/* the same pointer again and again, as if frees were missed: all in one bucket */
	for (unsigned i = 0; i < AGENT_BUCKET_ENTRIES + 5; i++)
		n += call(ALLOC, 1000, 0) == p;
	patch(false);
	assert_int_equal(n, AGENT_BUCKET_ENTRIES + 5);
	assert_int_equal(held(p), AGENT_BUCKET_ENTRIES);
	assert_int_equal(at.data->counters.set_full, 5);
	assert_int_equal(at.data->counters.set_full_bytes, 5 * (1000 + 1));
}

static unsigned pools(void)
{
	unsigned n = 0;

	for (unsigned b = 0; b < AGENT_CONTEXT_BUCKETS; b++) {
		unsigned here = 0;

		for (unsigned i = 0; i < AGENT_CONTEXT_ENTRIES; i++)
			here += at.data->contexts[b][i].context != 0;
		assert_int_equal(at.data->context_filter[b], here);
		n += here;
	}
	return n;
}

static void a_reset_takes_its_own(void **state)
{
	turn_on(1);
	patch(true);
	for (uint64_t n = 100; n < 150; n++) {
		call(POOL_ALLOC, 0x10000, n);
		call(POOL_ALLOC, 0x20000, n);
	}
	assert_int_equal(held(0), 100);
	assert_int_equal(pools(), 2);
	assert_int_equal(at.data->records[0].size, 116);
	assert_int_equal(at.data->records[0].asked, 100 + AGENT_ASKED_MORE);
	call(POOL_RESET, 0x10000, 0);
	assert_int_equal(held(0), 50);
	assert_int_equal(held(0x10000 + 120 + 0x300000), 0);
	assert_int_equal(held(0x20000 + 120 + 0x300000), 1);
	assert_int_equal(at.data->counters.reset, 50);
	call(POOL_RESET, 0x10000, 0);
	for (uint64_t n = 100; n < 150; n++)
		call(RELEASE, 0x20000 + n + 0x300000, 0);
	assert_int_equal(held(0), 0);
	assert_int_equal(pools(), 0);
	/* what is given back is used again */
	for (unsigned i = 0; i < 100; i++)
		call(POOL_ALLOC, 0x10000, 100 + i);
	assert_true(at.data->n_links <= 100);
	call(POOL_RESET, 0x10000, 0);
	patch(false);
	assert_int_equal(held(0), 0);
}

/* A pool that is never reset, with blocks that come and go. */
static void links_do_not_pile_up(void **state)
{
	turn_on(1);
	patch(true);
	call(POOL_ALLOC, POOL, 100);
	for (unsigned i = 0; i < 10000; i++) {
		const uint64_t p = call(POOL_ALLOC, POOL, 200 + i % 7);

		call(RELEASE, p, 0);
	}
	assert_true(at.data->n_links < 100);
	assert_int_equal(held(0), 1);
	call(POOL_RESET, POOL, 0);
	patch(false);
	assert_int_equal(held(0), 0);
}

/* One that fails may as well not return at all: the old block is never out of the set. */
static void a_resize_in_a_pool(void **state)
{
	uint64_t p;

	turn_on(1);
	patch(true);
	p = call(POOL_ALLOC, POOL, 100);
	assert_int_equal(call(POOL_RESIZE, p, 1), 0);
	assert_int_equal(held(p), 1);
	call(POOL_RESIZE, p, 500);
	assert_int_equal(held(p), 0);
	assert_int_equal(held(p + 500), 1);
	assert_int_equal(held(0), 1);
	call(POOL_RESET, POOL, 0);
	patch(false);
	assert_int_equal(held(0), 0);
	assert_int_equal(pools(), 0);
}

static void too_many_pools_are_counted(void **state)
{
	const uint64_t n = AGENT_CONTEXT_BUCKETS * AGENT_CONTEXT_ENTRIES + 10000;
	const struct agent_counters *c = &at.data->counters;

	turn_on(1);
	patch(true);
	for (uint64_t i = 0; i < n; i++)
		call(POOL_ALLOC, 0x1000000 + i * 1024, 100);
	assert_int_equal(c->samples, n);
	assert_true(c->contexts_full >= 10000 && c->set_full >= c->contexts_full);
	assert_int_equal(held(0), n - c->set_full);
	assert_int_equal(pools(), held(0));
	for (uint64_t i = 0; i < n; i++)
		call(POOL_RESET, 0x1000000 + i * 1024, 0);
	patch(false);
	assert_int_equal(held(0), 0);
	assert_int_equal(pools(), 0);
}

/* The @i-th countdown of the kind that is used. */
static struct agent_slot *countdown(unsigned i)
{
	return at.image.cpu_at ? &at.data->cpus[i % AGENT_CPUS].slot : &at.data->slots[i];
}

static volatile int ended;

/* What memwho does to the countdowns, as often as can be: mostly in the middle of a call. */
static void *renew_all_the_time(void *arg)
{
	(void)arg;
	while (!ended) {
		for (unsigned i = 0; i < AGENT_SLOTS; i++) {
			volatile struct agent_slot *s = countdown(i);

			if (s->owner && s->left >= 0)
				((volatile uint8_t *)&s->left)[7] = AGENT_RENEW;
		}
	}
	return NULL;
}

/* How many blocks of @size the samples of @calls calls say that there were, in standard
 * errors off the truth; the rate changes every few calls. */
static double error_of(unsigned calls, uint64_t size)
{
	const unsigned n_rates = 5;
	double sum = 0, variance = 0;

	for (unsigned i = 0; i < calls; i++) {
		uint64_t p = call(ALLOC, size, 0);

		call(RELEASE, p, 0);
		if (i % 7 == 0)
			at.data->control.rate = (i / 7) * 2654435761u % n_rates;
		if (at.data->record_states[0] == AGENT_RECORD_READY) {
			const unsigned rate = at.data->records[0].seq >> AGENT_SEQ_RATE;
			double chance;

			assert_in_range(rate, 0, n_rates - 1);
			chance = -expm1(-(double)size / (double)at.data->control.means[rate]);
			sum += 1 / chance;
			variance += (1 - chance) / chance / chance;
			at.data->record_states[0] = AGENT_RECORD_FREE;
		}
	}
	print_message("%u calls, %.0f estimated, sd %.0f\n", calls, sum, sqrt(variance));
	return (sum - calls) / sqrt(variance);
}

/* Samples are worth what they were drawn with: neither a change of the rate nor a
 * countdown that is thrown away in its middle is to be seen in the sum. */
static void weights_stay_right(void **state)
{
	static const uint64_t means[] = { 20000, 300, 3000, 80000, 1000 };
	pthread_t thread;

	for (int renews = 0; renews < 2; renews++) {
		turn_on(means[0]);
		memcpy(at.data->control.means, means, sizeof(means));
		patch(true);
		ended = 0;
		if (renews)
			assert_int_equal(pthread_create(&thread, NULL, renew_all_the_time, NULL),
			                 0);
		assert_true(fabs(error_of(2000000, 1000)) < 4.5);
		ended = 1;
		if (renews)
			pthread_join(thread, NULL);
		patch(false);
	}
}

/* A pause has an end, but no sample there. */
static void a_pause_is_no_sample(void **state)
{
	struct agent_slot *s = NULL;

	turn_on(1000);
	patch(true);
	call(ALLOC, 1 << 20, 0);
	for (unsigned i = 0; i < AGENT_SLOTS; i++) {
		if (countdown(i)->owner)
			s = countdown(i);
	}
	assert_non_null(s);
	s->left = 100;
	s->rate = AGENT_NO_RATE;
	call(ALLOC, 1 << 20, 0);
	assert_int_equal(at.data->counters.samples, 1);
	assert_int_equal(s->rate, 0);
	call(ALLOC, 1 << 20, 0);
	patch(false);
	assert_int_equal(at.data->counters.samples, 2);
}

static void nothing_after_the_deadline(void **state)
{
	turn_on(1);
	at.data->control.deadline = 1;
	patch(true);
	all_work();
	patch(false);
	assert_int_equal(at.data->counters.samples, 0);
	assert_true(at.data->counters.expired > 0);
}

/* The mean of many draws, by the number of samples: n bytes with mean m give n/m. @move is
 * called before each. */
static void as_many_samples_as_there_should_be(void (*move)(unsigned i))
{
	enum { MEAN = 4096, BLOCK = 512, N = 400000 };
	const double expected = N * (1 - 0.8824969); /* 1 - e^-(512/4096) */

	turn_on(MEAN);
	patch(true);
	for (unsigned i = 0; i < N; i++) {
		move(i);
		call(RELEASE, call(ALLOC, BLOCK, 0), 0);
	}
	patch(false);
	/* 4 standard deviations of a binomial */
	assert_true(at.data->counters.samples > expected - 4 * 204);
	assert_true(at.data->counters.samples < expected + 4 * 204);
	assert_int_equal(at.data->counters.freed, at.data->counters.samples);
	assert_int_equal(held(0), 0);
}

static void stay(unsigned i)
{
	(void)i;
}

static void samples_are_as_many_as_they_should_be(void **state)
{
	as_many_samples_as_there_should_be(stay);
}

/* Among some processors, now and then in a thread that has none registered. */
static void move(unsigned i)
{
	place.cpu_id_start = i * 2654435761u >> 29;
	place.cpu_id = place.cpu_id_start == 7 ? ~0u : place.cpu_id_start;
	if (place.cpu_id == ~0u)
		place.cpu_id_start = 0;
}

static void moving_changes_nothing(void **state)
{
	unsigned used = 0;

	as_many_samples_as_there_should_be(move);
	for (unsigned i = 0; i < AGENT_CPUS; i++)
		used += at.data->cpus[i].slot.owner != 0;
	assert_int_equal(used, 8);
	assert_int_equal(at.data->cpus[AGENT_CPUS - 1].slot.owner, 1);
	place.cpu_id_start = place.cpu_id = 0;
}

/* Whatever is read there, nothing but the countdowns is written. */
static void no_place_is_outside(void **state)
{
	const uint8_t *behind = at.data->filter;

	turn_on(1ull << 40);
	patch(true);
	for (uint32_t low = 0; low < 256; low += 5) {
		place.cpu_id_start = low << 24 | 0x123456;
		place.cpu_id = 0xabcdef00 | (255 - low);
		call(ALLOC, 1000, 0);
	}
	place.cpu_id_start = place.cpu_id = ~0u;
	call(ALLOC, 1000, 0);
	patch(false);
	place.cpu_id_start = place.cpu_id = 0;
	assert_int_equal(at.data->counters.samples, 0);
	for (size_t i = 0; i < sizeof(at.data->filter); i++)
		assert_int_equal(behind[i], 0);
	for (size_t i = 0; i < AGENT_SLOTS; i++)
		assert_int_equal(at.data->slots[i].owner, 0);
}
#endif

static void the_highest_processor(void **state)
{
	assert_int_equal(agent_cpu_highest("0\n"), 0);
	assert_int_equal(agent_cpu_highest("0-1\n"), 1);
	assert_int_equal(agent_cpu_highest("0-3,8,16-31\n"), 31);
	assert_int_equal(agent_cpu_highest("0-255"), 255);
	assert_int_equal(agent_cpu_highest(""), -1);
	assert_int_equal(agent_cpu_highest("\n"), -1);
	assert_int_equal(agent_cpu_highest("all"), -1);
	assert_int_equal(agent_cpu_highest("0-x"), -1);
}

/* What no draw can be, and what is only long. */
static void damaged_countdowns(void **state)
{
	static struct agent_rate r;
	struct agent_slot s = { .owner = 1, .rate = AGENT_RATE_FIRST };
	const long long mean = 64 * 1024;

	agent_rate_init(&r, (uint64_t)mean, 1);
	for (s.left = -(1ll << 62); s.left < 0; s.left /= 2)
		assert_false(agent_health_is_damaged(&r, &s));
	s.left = 44 * mean;
	assert_false(agent_health_is_damaged(&r, &s));
	s.left = 46 * mean;
	assert_true(agent_health_is_damaged(&r, &s));
	s.rate = AGENT_NO_RATE;
	assert_false(agent_health_is_damaged(&r, &s));
	s.left = 1ll << 36;
	assert_false(agent_health_is_damaged(&r, &s));
	s.left = 1ll << 37;
	assert_true(agent_health_is_damaged(&r, &s));
	s.owner = 0;
	assert_false(agent_health_is_damaged(&r, &s));
	s = (struct agent_slot){ .owner = 1, .rate = AGENT_RATES };
	assert_true(agent_health_is_damaged(&r, &s));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_may_be_patched),   cmocka_unit_test(long_instructions_first),
		cmocka_unit_test(what_may_not),          cmocka_unit_test(not_across_pages),
		cmocka_unit_test(what_stubs_understand), cmocka_unit_test(damaged_countdowns),
		cmocka_unit_test(the_highest_processor),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

#if defined(__x86_64__)
	const struct CMUnitTest at_work[] = {
		cmocka_unit_test(functions_do_what_they_did),
		cmocka_unit_test(the_other_entries),
		cmocka_unit_test(every_block_is_followed),
		cmocka_unit_test(reallocs_of_nothing_and_to_nothing_are_fast),
		cmocka_unit_test(a_full_set_is_counted),
		cmocka_unit_test(a_reset_takes_its_own),
		cmocka_unit_test(links_do_not_pile_up),
		cmocka_unit_test(a_resize_in_a_pool),
		cmocka_unit_test(too_many_pools_are_counted),
		cmocka_unit_test(weights_stay_right),
		cmocka_unit_test(a_pause_is_no_sample),
		cmocka_unit_test(nothing_after_the_deadline),
		cmocka_unit_test(samples_are_as_many_as_they_should_be),
	};
	const struct CMUnitTest of_processors[] = {
		cmocka_unit_test(moving_changes_nothing),
		cmocka_unit_test(no_place_is_outside),
	};

	failed += cmocka_run_group_tests_name("countdowns of threads", at_work, set_up_for_threads,
	                                      NULL);
	failed += cmocka_run_group_tests_name("countdowns of processors", at_work,
	                                      set_up_for_processors, NULL);
	failed += cmocka_run_group_tests_name("between processors", of_processors,
	                                      set_up_for_processors, NULL);
#endif
	return failed;
}
