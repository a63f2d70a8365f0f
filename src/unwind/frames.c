/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "unwind/frames.h"

#include <dwarf.h>
#include <elf.h>
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "base/log.h"
#include "unwind/cfi.h"
#include "unwind/cursor.h"

enum { MAX_FRAME_BYTES = 256 << 20, FIRST_READ = 256 << 10 };

void frames_clear(struct frames *f)
{
	free(f->eh);
	free(f->debug);
	*f = (struct frames){ 0 };
}

/* A missing section is no error, but a lack of memory must not look like one. */
static int only_oom(const struct elf_file *f, const struct error *err)
{
	if (err->code == -ENOMEM)
		return err->code;
	log_note(LOG_DEBUG, "%s: frame information left out: %s", elf_file_name(f), err->message);
	return 0;
}

/* vaddr of .eh_frame as .eh_frame_hdr has it (LSB core 5.0, 10.6.2). */
static bool header_points_to(const struct elf_file *f, uint64_t *ret)
{
	for (size_t i = 0; i < elf_file_n_segments(f); i++) {
		struct elf_segment s = elf_file_segment(f, i);
		uint8_t bytes[12] = { 0 };
		struct cursor c = cursor_on(bytes + 4, 8);
		struct error err;

		if (s.type != PT_GNU_EH_FRAME || s.filesz < 8)
			continue;
		if (elf_file_read_vaddr(f, s.vaddr, bytes, s.filesz < 12 ? 8 : 12, &err) < 0 ||
		    bytes[0] != 1)
			return false;
		return cfi_encoded(&c, bytes[1], s.vaddr + 4, ret);
	}
	return false;
}

/* Bytes up to the terminator, or up to where entries stop making sense;
 * *whole is false when @len ends before that. */
static size_t length_of_entries(const uint8_t *data, size_t len, bool *whole)
{
	struct cursor c = cursor_on(data, len);

	*whole = true;
	while (cursor_left(&c) >= 12) {
		uint64_t n = cursor_uint(&c, 4);

		if (!n)
			return c.at - data;
		if (n == 0xffffffff)
			n = cursor_uint(&c, 8);
		if (n > MAX_FRAME_BYTES)
			return c.at - data;
		cursor_skip(&c, n);
	}
	*whole = false;
	return len;
}

/* Without section headers nothing says how long .eh_frame is. */
static int read_to_terminator(const struct elf_file *f, uint64_t vaddr, struct frames *ret,
                              struct error *err)
{
	struct elf_section range = { .name = ".eh_frame", .type = SHT_PROGBITS };
	uint64_t most;

	if (!elf_file_offset(f, vaddr, &range.offset) || range.offset >= elf_file_size(f))
		return error_set(err, ENOENT, "no .eh_frame where .eh_frame_hdr says");
	most = elf_file_size(f) - range.offset;
	if (most > MAX_FRAME_BYTES)
		most = MAX_FRAME_BYTES;
	for (range.size = FIRST_READ;; range.size *= 4) {
		cleanup_free void *data = NULL;
		size_t len;
		bool whole;
		int r;

		if (range.size > most)
			range.size = most;
		r = elf_file_section_data(f, &range, most, &data, &len, err);
		if (r < 0)
			return r;
		len = length_of_entries(data, len, &whole);
		if (!whole && range.size < most)
			continue;
		ret->eh = take_ptr(data);
		ret->eh_len = len;
		ret->eh_vaddr = vaddr;
		return 0;
	}
}

static int load_eh_frame(const struct elf_file *f, struct frames *ret, struct error *err)
{
	uint64_t vaddr = 0;
	bool has_header = header_points_to(f, &vaddr);
	struct elf_section s;
	void *data;
	int r;

	/* static glibc programs have the section, but no program header for it */
	if (elf_file_section(f, ".eh_frame", &s) && s.type != SHT_NOBITS &&
	    (!has_header || s.vaddr == vaddr)) {
		r = elf_file_section_data(f, &s, MAX_FRAME_BYTES, &data, &ret->eh_len, err);
		if (!r) {
			ret->eh = data;
			ret->eh_vaddr = s.vaddr;
			return 0;
		}
		if (r == -ENOMEM)
			return r;
	}
	return has_header ? read_to_terminator(f, vaddr, ret, err) : 0;
}

static int load_debug_frame(const struct elf_file *f, struct frames *ret, struct error *err)
{
	struct elf_section s;
	void *data;
	int r;

	if (!elf_file_section(f, ".debug_frame", &s) || s.type == SHT_NOBITS)
		return 0;
	r = elf_file_section_data(f, &s, MAX_FRAME_BYTES, &data, &ret->debug_len, err);
	if (r < 0)
		return r;
	ret->debug = data;
	return 0;
}

int frames_load(const struct elf_file *f, struct frames *ret, struct error *err)
{
	cleanup(frames_clear) struct frames frames = { 0 };
	struct error e = { 0 };

	if ((load_eh_frame(f, &frames, &e) < 0 && only_oom(f, &e) < 0) ||
	    (load_debug_frame(f, &frames, &e) < 0 && only_oom(f, &e) < 0)) {
		*err = e;
		return e.code;
	}
	*ret = frames;
	frames = (struct frames){ 0 };
	return 0;
}

int frames_add_rows(const struct frames *f, struct rows *rows, size_t *n_fdes, struct error *err)
{
	struct cfi_section eh = { f->eh, f->eh_len, f->eh_vaddr, true };
	struct cfi_section debug = { f->debug, f->debug_len, 0, false };
	int r = f->eh ? cfi_add_rows(&eh, rows, n_fdes, err) : 0;

	if (r < 0)
		return r;
	rows_sort(rows);
	r = f->debug ? cfi_add_rows(&debug, rows, n_fdes, err) : 0;
	if (r < 0)
		return r;
	rows_sort(rows);
	return 0;
}

uint64_t frames_hash(const struct frames *f)
{
	uint64_t h = hash_u64(f->eh_vaddr);

	h = f->eh ? hash_bytes(f->eh, f->eh_len, h) : h;
	return f->debug ? hash_bytes(f->debug, f->debug_len, h) : h;
}
