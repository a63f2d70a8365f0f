/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <dwarf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "unwind/cfi.h"
#include "unwind/rows.h"

enum { TEXT = 0x10000, SECTION = 0x8000 };

/* A section under construction. */
struct section {
	uint8_t bytes[8192];
	size_t len, entry;
};

static void put(struct section *s, const void *bytes, size_t len)
{
	assert_true(s->len + len <= sizeof(s->bytes));
	memcpy(s->bytes + s->len, bytes, len);
	s->len += len;
}

static void put_u8(struct section *s, uint8_t v)
{
	put(s, &v, 1);
}

static void put_u32(struct section *s, uint32_t v)
{
	put(s, &v, 4);
}

static void put_u64(struct section *s, uint64_t v)
{
	put(s, &v, 8);
}

static void begin(struct section *s, uint32_t id)
{
	s->entry = s->len;
	put_u32(s, 0);
	put_u32(s, id);
}

static void end(struct section *s)
{
	uint32_t len = s->len - s->entry - 4;

	memcpy(s->bytes + s->entry, &len, 4);
}

/* Up to the augmentation's data: code factor 1, data factor -8, rip. */
static size_t begin_cie(struct section *s, uint32_t id, const char *letters)
{
	size_t at = s->len;

	begin(s, id);
	put_u8(s, 1);
	put(s, letters, strlen(letters) + 1);
	put(s, "\x01\x78\x10", 3);
	return at;
}

static void end_cie(struct section *s)
{
	put(s, "\x0c\x07\x08\x90\x01", 5); /* def_cfa rsp 8; offset rip -8 */
	end(s);
}

/* "zR" with pcrel sdata4, as gcc has it. */
static size_t usual_cie(struct section *s)
{
	size_t at = begin_cie(s, 0, "zR");

	put(s, "\x01\x1b", 2);
	end_cie(s);
	return at;
}

static void fde(struct section *s, size_t cie, uint64_t start, uint32_t size, const char *program,
                size_t len)
{
	begin(s, s->len + 4 - cie);
	put_u32(s, start - (SECTION + s->len));
	put_u32(s, size);
	put_u8(s, 0);
	put(s, program, len);
	end(s);
}

#define FDE(s, cie, start, size, program) fde(s, cie, start, size, program, sizeof(program) - 1)

struct result {
	struct unwind_row *rows;
	size_t n_rows, n_fdes, n_dropped;
};

static struct result run(const struct section *eh, const struct section *debug)
{
	cleanup(rows_clear) struct rows rows = { .text_base = TEXT, .text_end = TEXT + 0x1000 };
	struct result r = { 0 };
	struct error err;

	for (int i = 0; i < 2; i++) {
		const struct section *s = i ? debug : eh;
		cleanup_free uint8_t *copy = s ? malloc(s->len) : NULL; /* exact, for ASan */
		struct cfi_section c = { copy, s ? s->len : 0, i ? 0 : SECTION, !i };

		if (!s)
			continue;
		memcpy(copy, s->bytes, s->len);
		assert_int_equal(cfi_add_rows(&c, &rows, &r.n_fdes, &err), 0);
		rows_sort(&rows);
	}
	assert_int_equal(rows_finish(&rows, &r.rows, &r.n_rows, &err), 0);
	r.n_dropped = rows.n_dropped;
	return r;
}

static void assert_rows(const struct result *r, const struct unwind_row *want, size_t n)
{
	for (size_t i = 0; i < n && i < r->n_rows; i++) {
		assert_int_equal(r->rows[i].pc, want[i].pc);
		assert_int_equal(r->rows[i].type, want[i].type);
		assert_int_equal(r->rows[i].cfa_offset, want[i].cfa_offset);
		assert_int_equal(r->rows[i].rbp_slot, want[i].rbp_slot);
	}
	assert_int_equal(r->n_rows, n);
}

#define ASSERT_ROWS(r, ...)                                                                        \
	do {                                                                                       \
		const struct unwind_row want_[] = { __VA_ARGS__ };                                 \
		assert_rows(r, want_, ARRAY_SIZE(want_));                                          \
		free((r)->rows);                                                                   \
	} while (0)

static void a_usual_function(void **state)
{
	struct section s = { 0 };
	struct result r;

	/* push rbp; mov rbp,rsp; ...; pop rbp */
	FDE(&s, usual_cie(&s), TEXT + 0x20, 0x30,
	    "\x41\x0e\x10\x86\x02\x43\x0d\x06\x02\x20\x0c\x07\x08\xc6");
	r = run(&s, NULL);
	assert_int_equal(r.n_fdes, 1);
	assert_int_equal(r.n_dropped, 0);
	ASSERT_ROWS(&r, { 0, 0, 0, UNWIND_NONE }, { 0x20, 8, 0, UNWIND_RSP },
	            { 0x21, 16, 2, UNWIND_RSP }, { 0x24, 16, 2, UNWIND_RBP },
	            { 0x44, 8, 0, UNWIND_RSP }, { 0x50, 0, 0, UNWIND_NONE });
}

static void states_are_remembered(void **state)
{
	struct section s = { 0 };
	struct result r;

	/* the early return in the middle */
	FDE(&s, usual_cie(&s), TEXT, 0x20, "\x41\x0e\x10\x86\x02\x0a\x44\x0e\x08\xc6\x44\x0b");
	r = run(&s, NULL);
	ASSERT_ROWS(&r, { 0, 8, 0, UNWIND_RSP }, { 1, 16, 2, UNWIND_RSP }, { 5, 8, 0, UNWIND_RSP },
	            { 9, 16, 2, UNWIND_RSP }, { 0x20, 0, 0, UNWIND_NONE });
	s.len = 0;
	FDE(&s, usual_cie(&s), TEXT, 0x20, "\x44\x0b"); /* nothing was remembered */
	r = run(&s, NULL);
	assert_int_equal(r.n_dropped, 1);
	ASSERT_ROWS(&r, { 0, 8, 0, UNWIND_RSP }, { 4, 0, 0, UNWIND_NONE });
}

static void long_forms_say_the_same(void **state)
{
	struct section s = { 0 };
	struct result r;

	/* def_cfa_offset_sf, offset_extended_sf; advance_loc1, 2, 4; restore_extended;
	 * def_cfa_sf; negative_offset_extended */
	FDE(&s, usual_cie(&s), TEXT, 0x900,
	    "\x02\x10\x13\x7c\x11\x06\x03\x03\x00\x01\x06\x06\x04\x00\x02\x00\x00"
	    "\x12\x06\x7e\x2f\x06\x7e");
	r = run(&s, NULL);
	/* -126 * -8 is above the CFA: no place for a saved register */
	assert_int_equal(r.n_dropped, 1);
	ASSERT_ROWS(&r, { 0, 8, 0, UNWIND_RSP }, { 0x10, 32, 3, UNWIND_RSP },
	            { 0x110, 32, 0, UNWIND_RSP }, { 0x310, 0, 0, UNWIND_NONE });
}

static void what_a_row_cannot_say_is_none_and_counted(void **state)
{
	static const struct {
		const char *program;
		size_t len;
	} programs[] = {
		{ "\x0c\x0a\x08", 3 },             /* CFA by r10 */
		{ "\x09\x06\x09", 3 },             /* rbp in r9 */
		{ "\x86\x01", 2 },                 /* rbp where the return address is */
		{ "\x05\x06\x80\x02", 4 },         /* rbp 256 words down */
		{ "\x10\x06\x02\x77\x08", 5 },     /* rbp by an expression */
		{ "\x07\x06", 2 },                 /* rbp undefined */
		{ "\x09\x10\x01", 3 },             /* return address in rdx */
		{ "\x90\x02", 2 },                 /* return address elsewhere */
		{ "\x87\x03", 2 },                 /* rsp saved */
		{ "\x16\x07\x01\x30", 4 },         /* rsp by an expression */
		{ "\x0f\x03\x77\x08\x06", 5 },     /* CFA = *(rsp + 8) */
		{ "\x0f\x03\x76\x78\x06", 5 },     /* CFA = *(rbp - 8) without rbp at *rbp */
		{ "\x0f\x04\x77\xa0\x01\x06", 6 }, /* signal frame without registers */
		{ "\x0e\xff\xff\x7f", 4 },         /* frame of 2 MiB - 1 */
		{ "\x0e\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11 },
		{ "\x3d", 1 },     /* unknown instruction */
		{ "\x0e", 1 },     /* cut short */
		{ "\x0f\x7f", 2 }, /* block beyond the end */
		{ "\x04\x01", 2 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(programs); i++) {
		struct section s = { 0 };
		struct result r;

		fde(&s, usual_cie(&s), TEXT, 0x20, programs[i].program, programs[i].len);
		r = run(&s, NULL);
		if (r.n_rows != 1 || r.n_dropped != 1)
			fail_msg("program %zu: %zu rows, %zu dropped", i, r.n_rows, r.n_dropped);
		ASSERT_ROWS(&r, { 0, 0, 0, UNWIND_NONE });
	}
}

static void special_frames(void **state)
{
	struct section s = { 0 };
	struct result r;
	size_t cie = usual_cie(&s);

	FDE(&s, cie, TEXT, 0x10, "\x0f\x0b\x77\x08\x80\x00\x3f\x1a\x3b\x2a\x33\x24\x22");
	FDE(&s, cie, TEXT + 0x10, 0x10, "\x07\x10");
	FDE(&s, cie, TEXT + 0x20, 0x10, "\x0f\x03\x76\x78\x06\x10\x06\x02\x76\x00");
	FDE(&s, cie, TEXT + 0x30, 0x10, "\x0e\xc0\xb8\x02");
	FDE(&s, cie, TEXT + 0x40, 0x10,
	    "\x0f\x04\x77\xa0\x01\x06\x10\x06\x03\x77\xf8\x00\x10\x10\x03\x77\xa8\x01");
	r = run(&s, NULL);
	assert_int_equal(r.n_dropped, 0);
	ASSERT_ROWS(&r, { 0, 0, 0, UNWIND_PLT }, { 0x10, 0, 0, UNWIND_END },
	            { 0x20, -8, 0, UNWIND_RBP_DEREF }, { 0x30, 5000, 0, UNWIND_RSP_FAR },
	            { 0x40, 0, 0, UNWIND_SIGNAL }, { 0x50, 0, 0, UNWIND_NONE });
}

static void signal_frames_of_another_kind_are_not_walked(void **state)
{
	struct section s = { 0 };
	size_t cie = begin_cie(&s, 0, "zRS");
	struct result r;

	put(&s, "\x01\x1b", 2);
	end_cie(&s);
	FDE(&s, cie, TEXT, 0x10, "\x41\x0e\x10");
	r = run(&s, NULL);
	assert_true(r.n_dropped > 0);
	ASSERT_ROWS(&r, { 0, 0, 0, UNWIND_NONE });
}

static void personalities_are_skipped(void **state)
{
	struct section s = { 0 };
	size_t cie = begin_cie(&s, 0, "zPLR");
	struct result r;

	/* indirect pcrel sdata4, four bytes; LSDA encoding; FDE encoding */
	put(&s, "\x07\x9b\x11\x22\x33\x44\x1b\x1b", 8);
	end_cie(&s);
	FDE(&s, cie, TEXT, 0x10, "");
	r = run(&s, NULL);
	ASSERT_ROWS(&r, { 0, 8, 0, UNWIND_RSP }, { 0x10, 0, 0, UNWIND_NONE });
	/* aligned: padded to an address that 8 divides */
	s.len = 0;
	cie = begin_cie(&s, 0, "zPR");
	put_u8(&s, 1 + 8 + 1 + 7);
	put_u8(&s, DW_EH_PE_aligned);
	while ((SECTION + s.len) % 8)
		put_u8(&s, 0xee);
	put_u64(&s, 0x1122334455667788);
	put_u8(&s, 0x1b);
	s.bytes[cie + 4 + 4 + 1 + 4 + 3] = s.len - (cie + 4 + 4 + 1 + 4 + 3 + 1);
	end_cie(&s);
	FDE(&s, cie, TEXT, 0x10, "");
	r = run(&s, NULL);
	ASSERT_ROWS(&r, { 0, 8, 0, UNWIND_RSP }, { 0x10, 0, 0, UNWIND_NONE });
}

/* One FDE with addresses in another encoding. */
static struct result run_encoding(uint8_t encoding, const void *range, size_t len)
{
	struct section s = { 0 };
	size_t cie = begin_cie(&s, 0, "zR");

	put_u8(&s, 1);
	put_u8(&s, encoding);
	end_cie(&s);
	begin(&s, s.len + 4 - cie);
	put(&s, range, len);
	put_u8(&s, 0);
	end(&s);
	return run(&s, NULL);
}

static void all_encodings_of_addresses(void **state)
{
	static const uint64_t wide[] = { TEXT, 0x10 };
	static const uint32_t narrow[] = { TEXT, 0x10 };
	static const struct {
		uint8_t encoding;
		const void *range;
		size_t len;
	} good[] = {
		{ DW_EH_PE_absptr, wide, 16 },   { DW_EH_PE_udata8, wide, 16 },
		{ DW_EH_PE_sdata8, wide, 16 },   { DW_EH_PE_udata4, narrow, 8 },
		{ DW_EH_PE_sdata4, narrow, 8 },  { DW_EH_PE_uleb128, "\x80\x80\x04\x10", 4 },
		{ 0x09, "\x80\x80\x04\x10", 4 }, /* sleb128 */
	};
	static const uint8_t bad[] = { DW_EH_PE_omit, 0x80, DW_EH_PE_textrel, DW_EH_PE_datarel, 5 };

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		struct result r = run_encoding(good[i].encoding, good[i].range, good[i].len);

		ASSERT_ROWS(&r, { 0, 8, 0, UNWIND_RSP }, { 0x10, 0, 0, UNWIND_NONE });
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct result r = run_encoding(bad[i], wide, 16);

		assert_int_equal(r.n_rows, 0);
		assert_int_equal(r.n_fdes, 1);
		assert_int_equal(r.n_dropped, 1);
		free(r.rows);
	}
}

static void entries_of_no_use_are_counted(void **state)
{
	struct section s = { 0 };
	size_t cie = usual_cie(&s), strange = begin_cie(&s, 0, "zRX");
	struct result r;

	put(&s, "\x01\x1b", 2);
	end_cie(&s);
	FDE(&s, strange, TEXT, 0x10, "");       /* unknown letter */
	FDE(&s, cie + 3, TEXT, 0x10, "");       /* points into a CIE */
	FDE(&s, cie, 0, 0x10, "");              /* not text: removed by the linker */
	FDE(&s, cie, TEXT + 0x40, 0, "");       /* empty */
	FDE(&s, cie, TEXT + 0xff0, 0x8000, ""); /* reaches out of the text */
	put_u32(&s, 0);                         /* terminator in the middle */
	FDE(&s, cie, TEXT + 0x100, 0x10, "");
	put_u32(&s, 0x7fffffff); /* longer than the section */
	r = run(&s, NULL);
	assert_int_equal(r.n_fdes, 6);
	assert_int_equal(r.n_dropped, 2);
	ASSERT_ROWS(&r, { 0, 0, 0, UNWIND_NONE }, { 0x100, 8, 0, UNWIND_RSP },
	            { 0x110, 0, 0, UNWIND_NONE }, { 0xff0, 8, 0, UNWIND_RSP },
	            { 0x1000, 0, 0, UNWIND_NONE });
}

static void functions_come_in_any_order_and_may_overlap(void **state)
{
	struct section s = { 0 };
	size_t cie = usual_cie(&s);
	struct result r;

	FDE(&s, cie, TEXT + 0x40, 0x10, "\x0e\x20");
	FDE(&s, cie, TEXT, 0x40, "\x0e\x10\x70\x0e\x18");
	FDE(&s, cie, TEXT + 0x20, 0x20, "\x0e\x28"); /* in the middle of the one before */
	r = run(&s, NULL);
	ASSERT_ROWS(&r, { 0, 16, 0, UNWIND_RSP }, { 0x20, 40, 0, UNWIND_RSP },
	            { 0x40, 32, 0, UNWIND_RSP }, { 0x50, 0, 0, UNWIND_NONE });
}

static void debug_frame_fills_what_eh_frame_leaves(void **state)
{
	struct section eh = { 0 }, debug = { 0 };
	struct result r;

	FDE(&eh, usual_cie(&eh), TEXT, 0x20, "\x0e\x10");
	begin_cie(&debug, 0xffffffff, "");
	end_cie(&debug);
	for (int i = 0; i < 3; i++) { /* the second one's place is taken */
		static const uint32_t starts[] = { 0x40, 0x10, 0x20 };

		begin(&debug, 0);
		put_u64(&debug, TEXT + starts[i]);
		put_u64(&debug, 0x10);
		put(&debug, "\x0e\x20\x01", 3); /* set_loc */
		put_u64(&debug, TEXT + starts[i] + 8);
		put(&debug, "\x0e\x28", 2);
		end(&debug);
	}
	r = run(&eh, &debug);
	assert_int_equal(r.n_fdes, 4);
	ASSERT_ROWS(&r, { 0, 16, 0, UNWIND_RSP }, { 0x20, 32, 0, UNWIND_RSP },
	            { 0x28, 40, 0, UNWIND_RSP }, { 0x30, 0, 0, UNWIND_NONE },
	            { 0x40, 32, 0, UNWIND_RSP }, { 0x48, 40, 0, UNWIND_RSP },
	            { 0x50, 0, 0, UNWIND_NONE });
}

static void dwarf_64_and_version_4(void **state)
{
	struct section s = { 0 };
	struct result r;

	put_u32(&s, 0xffffffff);
	put_u64(&s, 8 + 1 + 1 + 2 + 3 + 5);
	put_u64(&s, UINT64_MAX);
	put(&s, "\x04\x00\x08\x00\x01\x78\x10", 7);
	put(&s, "\x0c\x07\x08\x90\x01", 5);
	put_u32(&s, 0xffffffff);
	put_u64(&s, 24);
	put_u64(&s, 0);
	put_u64(&s, TEXT);
	put_u64(&s, 0x10);
	r = run(NULL, &s);
	ASSERT_ROWS(&r, { 0, 8, 0, UNWIND_RSP }, { 0x10, 0, 0, UNWIND_NONE });
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_usual_function),
		cmocka_unit_test(states_are_remembered),
		cmocka_unit_test(long_forms_say_the_same),
		cmocka_unit_test(what_a_row_cannot_say_is_none_and_counted),
		cmocka_unit_test(special_frames),
		cmocka_unit_test(signal_frames_of_another_kind_are_not_walked),
		cmocka_unit_test(personalities_are_skipped),
		cmocka_unit_test(all_encodings_of_addresses),
		cmocka_unit_test(entries_of_no_use_are_counted),
		cmocka_unit_test(functions_come_in_any_order_and_may_overlap),
		cmocka_unit_test(debug_frame_fills_what_eh_frame_leaves),
		cmocka_unit_test(dwarf_64_and_version_4),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
