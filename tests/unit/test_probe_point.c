/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Functions made by hand; the oracle on real libraries is probe_points.py. */
#include <elf.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "runtime/code.h"
#include "runtime/probe_point.h"

enum { START = 0x401000, CODE_AT = 0x1000 };

/* An ELF file whose one executable segment is @code at START. */
static struct elf_file *file_of(const uint8_t *code, size_t len)
{
	Elf64_Ehdr h = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
		         .e_type = ET_EXEC,
		         .e_machine = EM_X86_64,
		         .e_version = EV_CURRENT,
		         .e_phoff = sizeof(h),
		         .e_ehsize = sizeof(h),
		         .e_phentsize = sizeof(Elf64_Phdr),
		         .e_phnum = 1 };
	Elf64_Phdr p = { .p_type = PT_LOAD,
		         .p_flags = PF_R | PF_X,
		         .p_offset = CODE_AT,
		         .p_vaddr = START,
		         .p_filesz = len,
		         .p_memsz = len,
		         .p_align = 0x1000 };
	int fd = memfd_create("code", MFD_CLOEXEC);
	struct elf_file *f = NULL;
	struct error err;

	assert_int_equal(pwrite(fd, &h, sizeof(h), 0), sizeof(h));
	assert_int_equal(pwrite(fd, &p, sizeof(p), sizeof(h)), sizeof(p));
	assert_int_equal(pwrite(fd, code, len, CODE_AT), len);
	if (elf_file_open(fd, "code", &f, &err) < 0)
		fail_msg("%s", err.message);
	return f;
}

struct function {
	const char *what;
	const char *code; /* bytes */
	size_t len;
	int at; /* -1: the start, single-stepped */
};
#define F(what, code, at)                                                                          \
	{                                                                                          \
		what, code, sizeof(code) - 1, at                                                   \
	}

static const struct function functions[] = {
	F("push rbp", "\x55\xc3", 0),
	F("push r12", "\x41\x54\xc3", 0),
	F("push rdi", "\x57\xc3", 0),
	F("rex.w push is not emulated", "\x48\x55\xc3", -1),
	F("endbr64; push", "\xf3\x0f\x1e\xfa\x55\xc3", 4),
	F("endbr64; ret", "\xf3\x0f\x1e\xfa\xc3", -1),
	F("test rdi; je +1", "\x48\x85\xff\x74\x01\xc3\xc3", 3),
	F("test rdi; je rel32", "\x48\x85\xff\x0f\x84\x01\x00\x00\x00\xc3\xc3", 3),
	F("jmp rel8", "\xeb\x00\xc3", 0),
	F("jmp rel32", "\xe9\x00\x00\x00\x00\xc3", 0),
	F("call rel32", "\xe8\x00\x00\x00\x00\xc3", 0),
	F("nop", "\x90\xc3", 0),
	F("a long nop is stepped over", "\x0f\x1f\x00\x55\xc3", 3),
	F("xchg ax, ax is one, too", "\x66\x90\x55\xc3", 2),
	F("the 5-byte nop as well", "\x0f\x1f\x44\x00\x00\x55\xc3", 5),
	F("pause is not nop", "\xf3\x90\xc3", -1),
	F("loop", "\xe2\x00\xc3", -1),
	F("jrcxz", "\xe3\x00\xc3", -1),
	F("call through memory", "\xff\x15\x00\x00\x00\x00\x55\xc3", -1),
	F("jump through memory", "\xff\x25\x00\x00\x00\x00\x55\xc3", -1),
	F("sub rsp", "\x48\x83\xec\x08\xe8\x00\x00\x00\x00\xc3", -1),
	F("mov ebp", "\xbd\x01\x00\x00\x00\x55\xc3", -1),
	F("mov eax is harmless", "\xb8\x01\x00\x00\x00\x55\xc3", 5),
	F("mov edi destroys an argument", "\xbf\x01\x00\x00\x00\x55\xc3", -1),
	F("mov dil, too", "\x40\xb7\x01\x55\xc3", -1),
	F("mul writes rdx unseen", "\x48\xf7\xe6\x55\xc3", -1),
	F("cpuid writes rcx and rdx", "\x0f\xa2\x55\xc3", -1),
	F("syscall writes rcx", "\x0f\x05\x55\xc3", -1),
	F("cmovne may write rsi", "\x48\x0f\x45\xf0\x55\xc3", -1),
	F("xchg rdi, rsi", "\x48\x87\xfe\x55\xc3", -1),
	F("ret first", "\xc3\x55", -1),
	F("ud2", "\x0f\x0b\x55", -1),
	/* mov rax, rdi; push; jne back to the push */
	F("jump back to the point", "\x48\x89\xf8\x55\x75\xfd\xc3", -1),
	F("jump back before the point", "\x48\x89\xf8\x90\x90\x75\xfc\xc3", -1),
	F("jump back behind the point", "\x48\x89\xf8\x55\x90\x75\xfd\xc3", 3),
	F("jump back to the start", "\x48\x89\xf8\x55\x75\xfa\xc3", 3),
	F("jump to a point at the start", "\x55\x90\x75\xfc\xc3", 0),
	F("call back to the point is another call", "\x48\x89\xf8\x55\xe8\xfa\xff\xff\xff\xc3", 3),
	/* 0x06 is no instruction in 64-bit mode */
	F("a part does not decode", "\x48\x89\xf8\x55\xc3\x06\x06", -1),
	F("a part does not decode, at the start", "\x55\xc3\x06\x06", 0),
	F("nothing behind a start that is cut off", "\x48\x89", -2),
	F("no instruction at all", "\x06\x55\xc3", -2),
};

static void by_hand(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(functions); i++) {
		const struct function *fn = &functions[i];
		cleanup(elf_file_closep) struct elf_file *f = file_of((const uint8_t *)fn->code,
		                                                      fn->len);
		struct error err = { 0 };
		uint64_t at = 77;
		bool single = false;
		int r = probe_point_find(f, START, fn->len, &at, &single, &err);

		if (fn->at == -2) {
			if (r != -ENOEXEC || at != 77)
				fail_msg("%s: %d", fn->what, r);
			continue;
		}
		if (r < 0)
			fail_msg("%s: %s", fn->what, err.message);
		if (single != (fn->at < 0) || at != START + (fn->at < 0 ? 0 : (uint64_t)fn->at))
			fail_msg("%s: +%lld%s", fn->what, (long long)(at - START),
			         single ? ", single-stepped" : "");
	}
}

/* Arguments that code in front has moved or destroyed. */
static void moved_arguments(void **state)
{
	static const struct {
		const char *code;
		size_t len;
		unsigned needed;
		int at, where[4];
	} cases[] = {
#define M(code, ...) { code, sizeof(code) - 1, __VA_ARGS__ }
		/* mov edi, 1; push: argument 1 is untouched */
		M("\xbf\x01\x00\x00\x00\x55\xc3", CODE_ARG1, 5, { 0, 1, 2, 3 }),
		M("\xbf\x01\x00\x00\x00\x55\xc3", CODE_ARG0, -1, { 0, 1, 2, 3 }),
		M("\xbf\x01\x00\x00\x00\x55\xc3", 0, 5, { 0, 1, 2, 3 }),
		/* mov rsi, rdi; mov rdi, rax; jmp */
		M("\x48\x89\xfe\x48\x89\xc7\xeb\x00\xc3", CODE_ARG0, 6, { 1, 1, 2, 3 }),
		M("\x48\x89\xfe\x48\x89\xc7\xeb\x00\xc3", CODE_ARG1, -1, { 0, 1, 2, 3 }),
		/* mov rdx, rsi; mov rsi, rdi; mov rdi, rax; jmp: both moved */
		M("\x48\x89\xf2\x48\x89\xfe\x48\x89\xc7\xeb\x00\xc3", CODE_ARG0 | CODE_ARG1, 9,
		  { 1, 2, 2, 3 }),
		/* mov esi, edi cuts it to 32 bits */
		M("\x89\xfe\x48\x89\xc7\xeb\x00\xc3", CODE_ARG0, -1, { 0, 1, 2, 3 }),
		/* mov rcx, rdi; mov rdi, rsi; mov rsi, rcx; push: swapped */
		M("\x48\x89\xf9\x48\x89\xf7\x48\x89\xce\x55\xc3", CODE_ARG0 | CODE_ARG1, 9,
		  { 1, 0, 2, 3 }),
		/* mov rsi, rdi; xor edi, edi; lea rsi, [rsi+1]: gone again */
		M("\x48\x89\xfe\x31\xff\x48\x8d\x76\x01\x55\xc3", CODE_ARG0, -1, { 0, 1, 2, 3 }),
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		cleanup(elf_file_closep) struct elf_file *f = file_of(
			(const uint8_t *)cases[i].code, cases[i].len);
		struct probe_point p;
		struct error err;

		assert_int_equal(
			probe_point_find_for(f, START, cases[i].len, cases[i].needed, &p, &err), 0);
		if (p.single_stepped != (cases[i].at < 0) ||
		    p.at != START + (cases[i].at < 0 ? 0 : (uint64_t)cases[i].at))
			fail_msg("case %zu: +%lld", i, (long long)(p.at - START));
		for (int a = 0; a < 4; a++)
			if (cases[i].needed & 1u << a)
				assert_int_equal(p.where[a], cases[i].where[a]);
	}
}

/* Sizes that are not known, or are wrong. */
static void sizes(void **state)
{
	/* test rdi; je end; push; pop; [end:] ret; then another function that jumps
	 * into this one */
	static const uint8_t two[] = { 0x48, 0x85, 0xff, 0x74, 0x02, 0x55, 0x5d,
		                       0xc3, 0x90, 0x90, 0xeb, 0xf7, 0xcc, 0xcc };
	cleanup(elf_file_closep) struct elf_file *f = file_of(two, sizeof(two));
	struct probe_point p;
	struct error err;

	assert_int_equal(probe_point_find_for(f, START, 0, CODE_ARGS, &p, &err), 0);
	assert_int_equal(p.at, START + 3);
	assert_int_equal(p.size, 8);
	/* taken for one function, the second one jumps back */
	assert_int_equal(probe_point_find_for(f, START, sizeof(two), CODE_ARGS, &p, &err), 0);
	assert_true(p.single_stepped);
	assert_int_equal(probe_point_find_for(f, START, sizeof(two) + 1, CODE_ARGS, &p, &err),
	                 -ENOEXEC);
	assert_int_equal(probe_point_find_for(f, START, 1ULL << 40, CODE_ARGS, &p, &err), -ENOEXEC);
	assert_int_equal(probe_point_find_for(f, START + sizeof(two), 0, CODE_ARGS, &p, &err),
	                 -ENOEXEC);
	assert_int_equal(probe_point_find_for(f, 0, 0, CODE_ARGS, &p, &err), -ENOEXEC);
	assert_int_equal(probe_point_find_for(f, ~0ULL, 8, CODE_ARGS, &p, &err), -ENOEXEC);
}

/* jmp to a jmp to the function; and two that jump to each other. */
static void real_start(void **state)
{
	static const uint8_t hops[] = { 0xf3, 0x0f, 0x1e, 0xfa, 0xeb, 0x02, 0xcc, 0xcc, 0xe9, 0x03,
		                        0x00, 0x00, 0x00, 0xcc, 0xcc, 0xcc, 0x55, 0x5d, 0xc3 };
	static const uint8_t circle[] = { 0xeb, 0x00, 0xeb, 0xfc };
	cleanup(elf_file_closep) struct elf_file *f = file_of(hops, sizeof(hops));
	cleanup(elf_file_closep) struct elf_file *g = file_of(circle, sizeof(circle));
	static const uint8_t outside[] = { 0xe9, 0x00, 0x00, 0x10, 0x00 };
	cleanup(elf_file_closep) struct elf_file *h = file_of(outside, sizeof(outside));

	assert_int_equal(code_real_start(f, START), START + 16);
	assert_int_equal(code_real_start(f, START + 8), START + 16);
	assert_int_equal(code_real_start(f, START + 16), START + 16);
	assert_in_range(code_real_start(g, START), START, START + 2);
	assert_int_equal(code_real_start(h, START), START);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(by_hand),
		cmocka_unit_test(moved_arguments),
		cmocka_unit_test(sizes),
		cmocka_unit_test(real_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
