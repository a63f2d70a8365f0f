/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "runtime/plan.h"

/* Memory of a made-up target: 64 bytes at BASE. */
enum { BASE = 0x1000 };
static unsigned char memory[64];

static int read_memory(void *ctx, unsigned long long addr, void *buf, unsigned len)
{
	if (addr < BASE || addr - BASE > sizeof(memory) || sizeof(memory) - (addr - BASE) < len)
		return -EFAULT;
	memcpy(buf, memory + (addr - BASE), len);
	return 0;
}

static void put8(unsigned at, unsigned long long v)
{
	memcpy(memory + at, &v, 8);
}

struct out {
	unsigned long long v[4]; /* PTR SIZE CTX OLD */
};

/* Compile as @role, run the section from @second ? 2 : 1. */
static struct out run(enum plan_role role, const char *text, int second,
                      const unsigned long long arg[4], unsigned long long ret)
{
	struct plan_code code;
	struct error err = { 0 };
	struct out out = { { 0 } };

	if (plan_compile(role, text, &code, &err) < 0)
		fail_msg("%s: %s", text, err.message);
	assert_int_equal(
		plan_run(&code, second ? code.second : 0, arg, ret, read_memory, NULL, out.v), 0);
	return out;
}

/* What an expression leaves in SIZE. */
static unsigned long long value(const char *expression, const unsigned long long arg[4])
{
	char text[256];

	snprintf(text, sizeof(text), "RET PTR %s SIZE END", expression);
	return run(PLAN_ALLOC, text, 0, arg, 0xabcd).v[1];
}

static void every_operation(void **state)
{
	const unsigned long long arg[4] = { 10, 20, 1ULL << 63, BASE + 16 };
	static const struct {
		const char *expression;
		unsigned long long want;
	} cases[] = {
		{ "ARG0", 10 },
		{ "ARG2", 1ULL << 63 },
		{ "RET", 0xabcd },
		{ "IMM7", 7 },
		{ "IMM-1", ~0ULL },
		{ "IMM0x10", 16 },
		{ "ARG0 ADDI5", 15 },
		{ "ARG0 ADDI-11", ~0ULL },
		{ "IMM255 ANDI0x0f", 15 },
		{ "IMM-1 ANDI-8", ~7ULL },
		{ "ARG2 SHRI63", 1 },
		{ "IMM1 SHLI40", 1ULL << 40 },
		{ "ARG3 LD8:0", 0x1122334455667788 },
		{ "ARG3 LD8:8", 0xaaaaaaaaffffffff },
		{ "ARG3 LD8:-16", 0x42 },
		{ "ARG3 LD4:0", 0x55667788 },
		{ "ARG3 LD4:8", 0xffffffff }, /* not sign-extended */
		{ "ARG0 ST0 ARG1 ST3 IMM0 LDT0", 10 },
		{ "ARG0 ST0 ARG1 ST3 IMM0 LDT3", 20 },
		{ "LDT2", 0 }, /* temporaries begin as 0 */
		{ "ARG0 ST1 ARG1 ADD1", 30 },
		{ "ARG0 ST1 ARG1 SUB1", 10 },
		{ "ARG1 ST1 ARG0 SUB1", -10ULL },
		{ "ARG0 MUL1", 200 },
		{ "IMM4 ST2 IMM3 SHLV2", 48 },
		{ "IMM0 SKZ1 IMM9", 0 },
		{ "IMM1 SKZ1 IMM9", 9 },
		{ "IMM0 SKNZ1 IMM9", 9 },
		{ "IMM5 SKNZ1 IMM9", 5 },
		{ "IMM5 SKNZ2 IMM9 IMM8", 5 },
	};

	put8(0, 0x42);
	put8(16, 0x1122334455667788);
	put8(24, 0xaaaaaaaaffffffff);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		unsigned long long got = value(cases[i].expression, arg);

		if (got != cases[i].want)
			fail_msg("%s: %llx, not %llx", cases[i].expression, got, cases[i].want);
	}
}

static void outputs(void **state)
{
	const unsigned long long arg[4] = { 1, 2, 3, 4 };
	struct out o = run(PLAN_ALLOC, "ARG0 PTR ARG1 SIZE ARG2 CTX ARG3 OLD END", 0, arg, 0);

	for (int i = 0; i < 4; i++)
		assert_int_equal(o.v[i], i + 1);
}

static void sections(void **state)
{
	const unsigned long long arg[4] = { 0x70, 99, 0, 0 };
	const char *text = "ARG0 OLD END RET PTR ARG1 SIZE END";
	struct out o = run(PLAN_REALLOC, text, 0, arg, 0x80);
	struct plan_code code;
	struct error err;

	assert_int_equal(o.v[3], 0x70);
	assert_int_equal(o.v[0], 0);
	o = run(PLAN_REALLOC, text, 1, arg, 0x80);
	assert_int_equal(o.v[0], 0x80);
	assert_int_equal(o.v[1], 99);
	/* an END under a skip does not end an ALLOC's only section */
	assert_int_equal(plan_compile(PLAN_ALLOC, "RET SKZ3 IMM0 PTR END RET PTR ARG2 SIZE END",
	                              &code, &err),
	                 0);
	assert_int_equal(code.second, 0);
	assert_int_equal(plan_compile(PLAN_FREE, "ARG0 PTR END", &code, &err), 0);
	assert_int_equal(code.second, 0);
	assert_int_equal(plan_compile(PLAN_FREE, "ARG0 PTR END ARG1 SIZE END", &code, &err), 0);
	assert_int_equal(code.second, 3);
	assert_int_equal(plan_arguments(&code), 3);
}

static void read_fails(void **state)
{
	const unsigned long long arg[4] = { 8, 0, 0, 0 };
	struct plan_code code;
	struct error err;
	unsigned long long out[4] = { 0 };

	assert_int_equal(plan_compile(PLAN_FREE, "ARG0 PTR END ARG0 LD8:-8 SIZE END", &code, &err),
	                 0);
	assert_int_equal(plan_run(&code, code.second, arg, 0, read_memory, NULL, out), -EFAULT);
	assert_int_equal(out[1], 0);
}

static void bad_plans(void **state)
{
	static const struct {
		enum plan_role role;
		const char *text, *says;
	} cases[] = {
		{ PLAN_ALLOC, "RET PTR ARG0 SIZE", "last word" },
		{ PLAN_ALLOC, "", "last word" },
		{ PLAN_ALLOC, "RET PTR WHAT END", "WHAT" },
		{ PLAN_ALLOC, "RET PTR ARG4 SIZE END", "ARG4" },
		{ PLAN_ALLOC, "RET PTR ARG-1 SIZE END", "ARG-1" },
		{ PLAN_ALLOC, "RET PTR ARG SIZE END", "ARG" },
		{ PLAN_ALLOC, "RET PTR ARG1x SIZE END", "ARG1x" },
		{ PLAN_ALLOC, "RET1 PTR ARG1 SIZE END", "RET1" },
		{ PLAN_ALLOC, "RET PTR ST4 SIZE END", "ST4" },
		{ PLAN_ALLOC, "RET PTR SHLI64 SIZE END", "SHLI64" },
		{ PLAN_ALLOC, "RET PTR IMM4294967296 SIZE END", "IMM4294967296" },
		{ PLAN_ALLOC, "RET PTR LD8 SIZE END", "LD8" },
		{ PLAN_ALLOC, "RET PTR LD2:0 SIZE END", "LD2:0" },
		{ PLAN_ALLOC, "ret ptr end", "ret" },
		{ PLAN_ALLOC, "RET PTR SKZ0 SIZE END", "SKZ0" },
		{ PLAN_ALLOC, "RET PTR SKZ2 SIZE END", "skips past" },
		{ PLAN_ALLOC, "RET PTR SKNZ255 SIZE END", "SKNZ255" },
		{ PLAN_ALLOC, "RET PTR END", "SIZE is missing" },
		{ PLAN_ALLOC, "RET SIZE END", "PTR is missing" },
		{ PLAN_FREE, "ARG0 SKZ1 PTR END ARG1 SIZE END", NULL }, /* fine: lands on END */
		{ PLAN_FREE, "ARG0 SKZ2 PTR END ARG1 SIZE END", "skips past" },
		{ PLAN_FREE, "RET PTR END", "RET" },
		{ PLAN_FREE, "ARG0 PTR END RET SIZE END", "RET" },
		{ PLAN_FREE, "ARG0 PTR END ARG0 CTX END", "SIZE is missing" },
		{ PLAN_REALLOC, "ARG0 OLD END", "two sections" },
		{ PLAN_REALLOC, "RET OLD END RET PTR ARG1 SIZE END", "RET" },
		{ PLAN_REALLOC, "ARG0 PTR END RET PTR ARG1 SIZE END", "OLD is missing" },
		{ PLAN_RESET, "ARG0 PTR END", "CTX is missing" },
		{ PLAN_NONE, "ARG0 PTR END", "role" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct plan_code code = { .n = 77 };
		struct error err = { 0 };
		int r = plan_compile(cases[i].role, cases[i].text, &code, &err);

		if (!cases[i].says) {
			assert_int_equal(r, 0);
			continue;
		}
		if (r != -EINVAL || !strstr(err.message, cases[i].says))
			fail_msg("\"%s\": %d \"%s\"", cases[i].text, r, err.message);
		assert_int_equal(code.n, 77);
	}
}

static void too_long(void **state)
{
	char text[512] = "RET PTR ARG0 SIZE";
	struct plan_code code;
	struct error err;

	for (int i = 4; i < PLAN_MAX_UOPS - 1; i++)
		strncat(text, " IMM1", sizeof(text) - strlen(text) - 1);
	strncat(text, " END", sizeof(text) - strlen(text) - 1);
	assert_int_equal(plan_compile(PLAN_ALLOC, text, &code, &err), 0);
	assert_int_equal(code.n, PLAN_MAX_UOPS);
	strncat(text, " END", sizeof(text) - strlen(text) - 1);
	assert_int_equal(plan_compile(PLAN_ALLOC, text, &code, &err), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_operation), cmocka_unit_test(outputs),
		cmocka_unit_test(sections),        cmocka_unit_test(read_fails),
		cmocka_unit_test(bad_plans),       cmocka_unit_test(too_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
