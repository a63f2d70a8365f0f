/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "runtime/plan.h"
#include "runtime/usdt/usdt_notes.h"

/* ---- arguments ---- */

static void argument_is(const char *arguments, unsigned n, const char *expected)
{
	char text[96];
	int r = usdt_notes_argument(arguments, n, text, sizeof(text));

	if (r < 0)
		fail_msg("%s, %u: %s", arguments, n, strerror(-r));
	assert_string_equal(text, expected);
}

static void operands_become_operations(void **state)
{
	(void)state;
	argument_is("8@%rdi 8@%rsi", 0, "REG7");
	argument_is("8@%rdi 8@%rsi", 1, "REG6");
	argument_is("  8@%rdi   8@%r15 ", 1, "REG15");
	argument_is("4@%ebp", 0, "REG5 SHLI32 SHRI32");
	argument_is("4@%r9d", 0, "REG9 SHLI32 SHRI32");
	argument_is("-1@%dil", 0, "REG7 SHLI56 SHRI56");
	argument_is("2@%ax", 0, "REG0 SHLI48 SHRI48");
	argument_is("-4@$8000", 0, "IMM8000 SHLI32 SHRI32");
	argument_is("8@$-1", 0, "IMM-1");
	argument_is("8@(%rdi)", 0, "REG7 LD8:0");
	argument_is("8@-16(%rbp)", 0, "REG5 LD8:-16");
	argument_is("4@24(%rsp)", 0, "REG4 LD4:24");
	argument_is("2@24(%rsp)", 0, "REG4 LD4:24 SHLI48 SHRI48");
	argument_is("8@8(%rsp,%rcx,4)", 0, "REG1 SHLI2 ST3 REG4 ADD3 LD8:8");
	argument_is("8@(%rax,%rdx)", 0, "REG2 SHLI0 ST3 REG0 ADD3 LD8:0");
}

/* What is said of an operand is a plan. */
static void the_operations_compile(void **state)
{
	static const char *const arguments[] = { "8@%rdi", "-4@$5", "8@8(%rsp,%rcx,8)",
		                                 "1@(%rax)" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(arguments); i++) {
		char text[96], plan[256];
		struct plan_code code;
		struct error err = { 0 };

		assert_int_equal(usdt_notes_argument(arguments[i], 0, text, sizeof(text)), 0);
		snprintf(plan, sizeof(plan), "%s PTR %s SIZE %s WEIGHT END", text, text, text);
		assert_int_equal(plan_compile(PLAN_MARK, plan, &code, &err), 0);
	}
}

static void what_cannot_be_read_is_refused(void **state)
{
	static const char *const bad[] = {
		"8@%xmm0",
		"8@counter(%rip)",
		"8@%rdi+8",
		"16@%rdi",
		"0@%rdi",
		"8%rdi",
		"@%rdi",
		"8@",
		"8@$",
		"8@$x",
		"8@16",
		"8@(%rdi",
		"8@(%rdi,%rsi,3)",
		"8@(%rdi,)",
		"8@(,%rsi,8)",
		"8@99999999999(%rdi)",
		"8@%",
		"8@%rdii",
		"x",
		"8@%rdi%rdi%rdi%rdi%rdi%rdi%rdi%rdi%rdi%rdi%rdi%rdi%rdi%rdi%rdi%rdi%rdi%rdi%rdi%"
		"rdi",
	};
	char text[96], small[4];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		if (usdt_notes_argument(bad[i], 0, text, sizeof(text)) != -ENOTSUP)
			fail_msg("\"%s\" is taken", bad[i]);
	}
	assert_int_equal(usdt_notes_argument("8@%rdi", 1, text, sizeof(text)), -ENOENT);
	assert_int_equal(usdt_notes_argument("", 0, text, sizeof(text)), -ENOENT);
	assert_int_equal(usdt_notes_argument("8@%rdi", 0, small, sizeof(small)), -ENOSPC);
}

/* ---- notes ---- */

struct writer {
	uint8_t bytes[512];
	size_t n;
};

static void put(struct writer *w, const void *bytes, size_t n)
{
	memcpy(w->bytes + w->n, bytes, n);
	w->n = (w->n + n + 3) & ~(size_t)3;
}

static void put_note(struct writer *w, const char *name, size_t name_len, uint32_t type,
                     const uint64_t addresses[3], const char *strings, size_t strings_len)
{
	const uint32_t head[3] = { name_len, 24 + strings_len, type };
	uint8_t desc[128];

	put(w, head, sizeof(head));
	put(w, name, name_len);
	memcpy(desc, addresses, 24);
	memcpy(desc + 24, strings, strings_len);
	put(w, desc, 24 + strings_len);
}

static const uint64_t addresses[3] = { 0x1234, 0x2000, 0x4000 };
#define STRINGS "otel_memory\0alloc\0008@%rdi 8@%rsi 8@%rdx"

static void notes_are_found(void **state)
{
	struct writer w = { .n = 0 };
	struct usdt_note n;
	size_t pos = 0;

	(void)state;
	put_note(&w, "GNU", 4, 3, addresses, STRINGS, sizeof(STRINGS));
	put_note(&w, "stapsdt", 8, 2, addresses, STRINGS, sizeof(STRINGS));
	put_note(&w, "stapsdt", 8, 3, addresses, STRINGS, sizeof(STRINGS));
	put_note(&w, "stapsdt", 8, 3, addresses, "no end", 6);
	put_note(&w, "stapsdt", 8, 3, addresses, "a\0b\0", 5);
	assert_int_equal(usdt_notes_next(w.bytes, w.n, &pos, &n), 1);
	assert_string_equal(n.provider, "otel_memory");
	assert_string_equal(n.name, "alloc");
	assert_string_equal(n.arguments, "8@%rdi 8@%rsi 8@%rdx");
	assert_int_equal(n.pc, 0x1234);
	assert_int_equal(n.base, 0x2000);
	assert_int_equal(n.semaphore, 0x4000);
	assert_int_equal(usdt_notes_next(w.bytes, w.n, &pos, &n), 1);
	assert_string_equal(n.arguments, "");
	assert_int_equal(usdt_notes_next(w.bytes, w.n, &pos, &n), 0);
}

/* Cut anywhere, with any word changed: it ends, and what it gives lies inside. */
static void damaged_notes_end(void **state)
{
	static const uint32_t words[] = { 0, 1, 7, 0x7fffffff, 0xfffffff0, 0xffffffff };
	struct writer w = { .n = 0 };

	(void)state;
	put_note(&w, "stapsdt", 8, 3, addresses, STRINGS, sizeof(STRINGS));
	put_note(&w, "stapsdt", 8, 3, addresses, STRINGS, sizeof(STRINGS));
	for (size_t len = 0; len <= w.n; len++) {
		for (size_t at = 0; at + 4 <= len; at += 4) {
			for (size_t k = 0; k < ARRAY_SIZE(words); k++) {
				/* its own memory: a sanitizer sees a step too far */
				cleanup_free uint8_t *copy = malloc(len);
				struct usdt_note n;
				size_t pos = 0, found = 0;

				assert_non_null(copy);
				memcpy(copy, w.bytes, len);
				memcpy(copy + at, &words[k], 4);
				while (usdt_notes_next(copy, len, &pos, &n) == 1) {
					assert_true(found++ < 16);
					assert_true(strlen(n.arguments) < len);
				}
			}
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(operands_become_operations),
		cmocka_unit_test(the_operations_compile),
		cmocka_unit_test(what_cannot_be_read_is_refused),
		cmocka_unit_test(notes_are_found),
		cmocka_unit_test(damaged_notes_end),
	};

	return cmocka_run_group_tests_name("usdt", tests, NULL, NULL);
}
