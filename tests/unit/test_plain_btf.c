/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <linux/btf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "bpf/plain_btf.h"

/* name offsets: "" 0, "a" 1, "b" 3 */
static const char strings[8] = "\0a\0b\0";

struct sample {
	struct btf_header h;
	uint32_t types[32];
	char strings[8];
};

/* An int, a tag of it as declaration and as type, an enum of two 64-bit values,
 * a struct with one member. */
static struct sample sample(void)
{
	static const uint32_t types[] = {
		1,   BTF_KIND_INT << 24,
		4,   32, /* 1 */
		3,   17 << 24,
		1,   7, /* 2: DECL_TAG, component 7 */
		3,   18 << 24,
		1, /* 3: TYPE_TAG */
		1,   1U << 31 | 19 << 24 | 2,
		8,   1,
		5,   0,
		3,   -6U,
		-1U, /* 4: ENUM64 { a = 5, b = -6 } */
		3,   BTF_KIND_STRUCT << 24 | 1,
		4,   1,
		1,   0, /* 5 */
	};
	struct sample s = { .h = { .magic = BTF_MAGIC, .version = 1, .hdr_len = sizeof(s.h) } };

	memcpy(s.types, types, sizeof(types));
	s.h.type_len = sizeof(types);
	s.h.str_off = sizeof(s.types);
	s.h.str_len = sizeof(strings);
	memcpy(s.strings, strings, sizeof(strings));
	return s;
}

static void foreign_kinds_become_plain_ones(void **state)
{
	static const uint32_t wanted[] = {
		1,
		BTF_KIND_INT << 24,
		4,
		32,
		3,
		BTF_KIND_VAR << 24,
		1,
		0,
		0,
		BTF_KIND_CONST << 24,
		1,
		1,
		BTF_KIND_ENUM << 24 | 2,
		8,
		1,
		5,
		3,
		-6U,
		3,
		BTF_KIND_STRUCT << 24 | 1,
		4,
		1,
		1,
		0,
	};
	struct sample s = sample();
	cleanup_free void *out = NULL;
	struct btf_header h;
	struct error err = { 0 };
	size_t len;

	assert_int_equal(plain_btf_convert(&s, sizeof(s), &out, &len, &err), 0);
	memcpy(&h, out, sizeof(h));
	assert_int_equal(len, sizeof(h) + sizeof(wanted) + sizeof(strings));
	assert_int_equal(h.type_len, sizeof(wanted));
	assert_int_equal(h.str_off, sizeof(wanted));
	assert_memory_equal((char *)out + sizeof(h), wanted, sizeof(wanted));
	assert_memory_equal((char *)out + sizeof(h) + h.str_off, strings, sizeof(strings));
}

/* Every cut and every damaged byte: refused or converted, never read past. */
static void damage_is_survived(void **state)
{
	struct sample s = sample();
	struct error err = { 0 };
	size_t len, converted = 0;

	for (size_t n = 0; n <= sizeof(s); n++) {
		cleanup_free char *copy = malloc(n ? n : 1);
		cleanup_free void *out = NULL;

		memcpy(copy, &s, n);
		converted += plain_btf_convert(copy, n, &out, &len, &err) == 0;
	}
	assert_int_equal(converted, 1);
	for (size_t i = 0; i < sizeof(s); i++) {
		for (int v = 0; v < 256; v += 51) {
			cleanup_free char *copy = malloc(sizeof(s));
			cleanup_free void *out = NULL;
			int r;

			memcpy(copy, &s, sizeof(s));
			copy[i] = (char)v;
			r = plain_btf_convert(copy, sizeof(s), &out, &len, &err);
			assert_true(r == 0 || r == -EINVAL);
		}
	}
}

static void the_kernels_own_is_converted(void **state)
{
	cleanup_close int fd = -1;
	struct error err = { 0 };
	struct btf_header h;
	struct stat st;

	if (access("/sys/kernel/btf/vmlinux", R_OK))
		skip();
	assert_int_equal(plain_btf_open(&fd, &err), 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(pread(fd, &h, sizeof(h), 0), sizeof(h));
	assert_int_equal(h.magic, BTF_MAGIC);
	assert_int_equal(st.st_size, h.hdr_len + h.type_len + h.str_len);
	assert_true(h.type_len > 100000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(foreign_kinds_become_plain_ones),
		cmocka_unit_test(damage_is_survived),
		cmocka_unit_test(the_kernels_own_is_converted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
