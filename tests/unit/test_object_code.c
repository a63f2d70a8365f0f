/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Sections of object files in linked code: masked bytes, calls that decide, what is there twice or
 * too short, known builds' text. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "symbol/object_archive.h"
#include "symbol/object_code.h"
#include "symbol/object_code_internal.h"
#include "symbol/object_known.h"
#include "symbol/object_match.h"
#include "symbol/object_text.h"

enum { TEXT = 0x401000, TEXT_BYTES = 16384, LONG = 300, SHORT = 40 };

/* Code that is nowhere else: by its number. */
static void code_of(unsigned number, uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		bytes[i] = hash_u64(number * 100000 + i);
}

/* A linked program with one executable segment. */
struct program {
	uint8_t text[TEXT_BYTES];
	struct elf_file *elf;
};

static void program_open(struct program *p)
{
	const Elf64_Ehdr h = {
		.e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_phoff = sizeof(h),
		.e_ehsize = sizeof(h),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 1,
	};
	const Elf64_Phdr segment = {
		.p_type = PT_LOAD,
		.p_flags = PF_R | PF_X,
		.p_offset = 4096,
		.p_vaddr = TEXT,
		.p_filesz = TEXT_BYTES,
		.p_memsz = TEXT_BYTES,
		.p_align = 4096,
	};
	int fd = memfd_create("program", MFD_CLOEXEC);
	struct error err;

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, &h, sizeof(h), 0), sizeof(h));
	assert_int_equal(pwrite(fd, &segment, sizeof(segment), sizeof(h)), sizeof(segment));
	assert_int_equal(pwrite(fd, p->text, TEXT_BYTES, 4096), TEXT_BYTES);
	assert_int_equal(elf_file_open(fd, "program", &p->elf, &err), 0);
}

static void program_close(struct program *p)
{
	elf_file_close(p->elf);
	p->elf = NULL;
}

/* Put a section's code at @at, with the field at @call (0: none) leading to @to. */
static void put(struct program *p, unsigned number, size_t n, size_t at, size_t call, size_t to)
{
	int32_t field = (int32_t)(to - (at + call) - 4);

	code_of(number, p->text + at, n);
	if (call)
		memcpy(p->text + at + call, &field, sizeof(field));
}

/* The same as a section of a build, with its function. */
static void add(struct object_build *b, unsigned number, size_t n, size_t call, const char *callee,
                const char *name)
{
	struct object_symbol s = {
		.section = b->n_sections, .size = n, .type = STT_FUNC, .bind = STB_GLOBAL
	};
	struct object_ref ref = { .at = call, .addend = -4 };
	uint8_t bytes[LONG];
	struct error err;

	code_of(number, bytes, n);
	if (call) {
		assert_int_equal(object_build_add_mask(b, call, call + 4, &err), 0);
		assert_int_equal(object_build_name(b, callee, strlen(callee), &ref.name, &err), 0);
		assert_int_equal(object_build_add_ref(b, &ref, &err), 0);
	}
	assert_int_equal(object_build_name(b, name, strlen(name), &s.name, &err), 0);
	assert_int_equal(object_build_add_symbol(b, &s, &err), 0);
	assert_int_equal(object_build_add_section(b, bytes, n, &err), 0);
}

/* Where a section was found; 0: it was not. */
static uint64_t place(const struct object_build *b, struct program *p, size_t section)
{
	struct object_match m = { .build = b };
	struct error err;
	uint64_t at;

	program_open(p);
	assert_int_equal(object_match_find(&m, 1, p->elf, &err), 0);
	at = m.places[section].found ? m.places[section].vaddr[0] : 0;
	object_match_clear(&m);
	program_close(p);
	return at;
}

static void relocated_bytes_do_not_count(void **state)
{
	cleanup(object_build_clear) struct object_build b = { 0 };
	struct program p = { { 0 } };

	add(&b, 1, LONG, 100, "elsewhere", "one");
	put(&p, 1, LONG, 777, 100, 5000);
	assert_int_equal(place(&b, &p, 0), TEXT + 777);
	p.text[777 + 104] ^= 1; /* the byte behind the field does */
	assert_int_equal(place(&b, &p, 0), 0);
}

static void two_are_none(void **state)
{
	cleanup(object_build_clear) struct object_build b = { 0 };
	struct program p = { { 0 } };

	add(&b, 1, LONG, 0, NULL, "one");
	put(&p, 1, LONG, 64, 0, 0);
	assert_int_equal(place(&b, &p, 0), TEXT + 64);
	put(&p, 1, LONG, 1024, 0, 0);
	assert_int_equal(place(&b, &p, 0), 0);
	for (size_t at = 2048; at < 8192; at += 512)
		put(&p, 1, LONG, at, 0, 0);
	assert_int_equal(place(&b, &p, 0), 0);
}

static void calls_decide_between_two(void **state)
{
	cleanup(object_build_clear) struct object_build b = { 0 };
	struct program p = { { 0 } };

	add(&b, 1, LONG, 50, "callee", "one");
	add(&b, 2, LONG, 0, NULL, "callee");
	put(&p, 2, LONG, 4096, 0, 0);
	put(&p, 1, LONG, 64, 50, 8000);
	put(&p, 1, LONG, 1024, 50, 4096);
	assert_int_equal(place(&b, &p, 1), TEXT + 4096);
	assert_int_equal(place(&b, &p, 0), TEXT + 1024);
}

static void short_ones_need_a_call(void **state)
{
	cleanup(object_build_clear) struct object_build b = { 0 };
	struct program p = { { 0 } };

	add(&b, 1, SHORT, 0, NULL, "short");
	add(&b, 2, LONG, 10, "short", "caller");
	put(&p, 1, SHORT, 64, 0, 0);
	assert_int_equal(place(&b, &p, 0), 0);
	put(&p, 2, LONG, 4096, 10, 64);
	assert_int_equal(place(&b, &p, 0), TEXT + 64);
	put(&p, 1, SHORT, 1024, 0, 0); /* the caller says which */
	assert_int_equal(place(&b, &p, 0), TEXT + 64);
}

static void equal_code_by_two_names_has_none(void **state)
{
	cleanup(object_build_clear) struct object_build b = { 0 }, same = { 0 };
	struct program p = { { 0 } };

	add(&b, 1, LONG, 0, NULL, "one");
	add(&b, 1, LONG, 0, NULL, "two");
	put(&p, 1, LONG, 64, 0, 0);
	assert_int_equal(place(&b, &p, 0), 0);
	assert_int_equal(place(&b, &p, 1), 0);
	add(&same, 1, LONG, 0, NULL, "__libc_calloc");
	add(&same, 1, LONG, 0, NULL, "calloc");
	assert_int_equal(place(&same, &p, 0), 0);
	assert_int_equal(place(&same, &p, 1), TEXT + 64);
}

static void text_says_the_same(void **state)
{
	cleanup(object_build_clear) struct object_build b = { 0 }, again = { 0 };
	cleanup_free char *text = NULL;
	struct program p = { { 0 } };
	struct error err;
	size_t len;
	FILE *to = open_memstream(&text, &len);

	add(&b, 1, SHORT, 0, NULL, "short");
	add(&b, 2, LONG, 10, "short", "caller");
	put(&p, 1, SHORT, 64, 0, 0);
	put(&p, 2, LONG, 4096, 10, 64);
	assert_int_equal(object_text_write(&b, to, &err), 0);
	fclose(to);
	assert_int_equal(object_text_read(&again, text, len, &err), 0);
	assert_int_equal(place(&again, &p, 0), TEXT + 64);
	assert_int_equal(place(&again, &p, 1), TEXT + 4096);
}

static void bad_text_is_refused(void **state)
{
	static const char *const bad[] = {
		"mask 1\n",
		"section\n",
		"section 10 1 2 8 3\n",
		"section 10 1 2 - 0\nmask f\n",
		"section 10 1 2 - 0\nmask 1+0\n",
		"section 10 1 2 - 0\nref 11 d a -4\n",
		"section 10 1 2 - 0\nref 1 d .1 -4\n",
		"section 10 1 2 - 0 jump\n",
		"section 10 1 2 - 0\nsymbol 1 0 0 2 1 a\n",
		"section 10 1 2 - 0\nsymbol 0 8 9 2 1 a\n",
		"section 10 1 2 - 0\nnonsense\n",
		"section ffffffffff 1 2 - 0\n",
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		cleanup(object_build_clear) struct object_build b = { 0 };
		struct error err = { 0 };

		assert_int_equal(object_text_read(&b, bad[i], strlen(bad[i]), &err), -EBADMSG);
		assert_string_not_equal(err.message, "");
	}
}

/* What is there twice is no symbol; it is said. */
static void what_is_not_proven_is_said(void **state)
{
	cleanup(object_code_freep) struct object_code *c = NULL;
	struct object_build b = { .title = "of ours" };
	struct object_code_found found;
	struct program p = { { 0 } };
	struct elf_symbol symbol;
	struct error err;

	add(&b, 1, LONG, 0, NULL, "one");
	add(&b, 2, LONG, 0, NULL, "two");
	add(&b, 3, LONG, 0, NULL, "three");
	put(&p, 1, LONG, 64, 0, 0);
	put(&p, 2, LONG, 1024, 0, 0);
	put(&p, 2, LONG, 2048, 0, 0);
	assert_int_equal(object_code_new(&c, &err), 0);
	assert_int_equal(object_code_add_build(c, &b, &err), 0);
	program_open(&p);
	assert_int_equal(object_code_find(c, p.elf, &found, &err), 0);
	assert_string_equal(found.title, "of ours");
	assert_int_equal(found.n_functions, 1);
	assert_memory_equal(found.undecided, "two\0", 5);
	assert_int_equal(elf_file_symbol(p.elf, ELF_ALL, "one", &symbol), 0);
	assert_int_equal(symbol.value, TEXT + 64);
	assert_int_equal(symbol.size, LONG);
	assert_int_equal(elf_file_symbol(p.elf, ELF_ALL, "two", &symbol), -ENOENT);
	free(found.undecided);
	program_close(&p);
}

static void known_builds_are_readable(void **state)
{
	cleanup(object_code_freep) struct object_code *c = NULL;
	struct object_code_found found;
	struct program p = { { 0 } };
	struct error err;

	assert_int_equal(object_code_new(&c, &err), 0);
	assert_int_equal(object_known_add(c, &err), 0);
	program_open(&p);
	assert_int_equal(object_code_find(c, p.elf, &found, &err), 0);
	assert_int_equal(found.n_functions, 0);
	program_close(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(relocated_bytes_do_not_count),
		cmocka_unit_test(two_are_none),
		cmocka_unit_test(calls_decide_between_two),
		cmocka_unit_test(short_ones_need_a_call),
		cmocka_unit_test(equal_code_by_two_names_has_none),
		cmocka_unit_test(text_says_the_same),
		cmocka_unit_test(bad_text_is_refused),
		cmocka_unit_test(what_is_not_proven_is_said),
		cmocka_unit_test(known_builds_are_readable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
