/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "base/search.h"
#include "unwind/cache.h"
#include "unwind/frames.h"
#include "unwind/prologue.h"
#include "unwind/rows.h"
#include "unwind/table.h"

/* smaller tables are made as fast as they are read */
enum { MIN_CACHED_ROWS = 4096, MIN_CACHED_FOLLOWED = 64 };

struct unwind_table *unwind_table_free(struct unwind_table *t)
{
	if (!t)
		return NULL;
	free(t->rows);
	free(t->index);
	free(t);
	return NULL;
}

void unwind_table_freep(struct unwind_table **t)
{
	*t = unwind_table_free(*t);
}

/* From the lowest executable address to behind the highest, at most 4 GiB. */
static void find_text(const struct elf_file *f, uint64_t *start, uint64_t *end)
{
	*start = UINT64_MAX;
	*end = 0;
	for (size_t i = 0; i < elf_file_n_segments(f); i++) {
		struct elf_segment s = elf_file_segment(f, i);

		if (s.type != PT_LOAD || !(s.flags & PF_X) || !s.filesz ||
		    s.filesz > elf_file_size(f) || s.vaddr > UINT64_MAX / 2)
			continue;
		*start = s.vaddr < *start ? s.vaddr : *start;
		*end = s.vaddr + s.filesz > *end ? s.vaddr + s.filesz : *end;
	}
	if (*end <= *start)
		*start = *end = 0;
	if (*end - *start > UINT32_MAX)
		*end = *start + UINT32_MAX;
}

static int make_index(struct unwind_table *t, struct error *err)
{
	size_t row = 0;

	if (!t->n_rows)
		return 0;
	t->n_index = ((t->text_end - 1 - t->text_base) >> UNWIND_INDEX_SHIFT) + 1;
	t->index = malloc(t->n_index * sizeof(*t->index));
	if (!t->index)
		return error_oom(err);
	for (size_t i = 0; i < t->n_index; i++) {
		uint64_t pc = (uint64_t)i << UNWIND_INDEX_SHIFT;

		while (row + 1 < t->n_rows && t->rows[row + 1].pc <= pc)
			row++;
		t->index[i] = row;
	}
	return 0;
}

static int make_rows(struct unwind_table *t, struct elf_file *f, const struct frames *frames,
                     struct error *err)
{
	cleanup(rows_clear) struct rows rows = { .text_base = t->text_base,
		                                 .text_end = t->text_end };
	int r = frames_add_rows(frames, &rows, &t->n_fdes, err);

	if (r < 0)
		return r;
	r = prologue_add_rows(f, &rows, &t->n_followed, err);
	if (r < 0)
		return r;
	/* a program's entry point has no caller, even where its rules forget to say
	 * so; a library's e_entry may be any function (old linkers: start of .text) */
	if (elf_file_is_program(f))
		rows_set_end(&rows, elf_file_entry(f));
	r = rows_finish(&rows, &t->rows, &t->n_rows, err);
	if (r < 0)
		return r;
	t->n_dropped = rows.n_dropped;
	return 0;
}

static uint64_t identity_of(const struct elf_file *f)
{
	struct stat st;
	uint64_t h;

	if (fstat(elf_file_fd(f), &st) < 0)
		return 0;
	h = hash_u64(st.st_dev) ^ st.st_ino;
	h = hash_u64(h) ^ st.st_ctim.tv_sec;
	return hash_u64(hash_u64(h) ^ st.st_ctim.tv_nsec);
}

/* Two files may claim one build-id (stripped and not, or a forged one), so
 * what the rows are made from is part of the key. */
static struct cache_key key_of(const struct elf_file *f, const struct frames *frames)
{
	char hex[2 * ELF_FILE_BUILD_ID_BYTES + 1];
	struct cache_key key = { 0 };

	elf_file_build_id_hex(f, hex);
	if (*hex)
		snprintf(key.name, sizeof(key.name), "%s.unwind", hex);
	key.frames_hash = frames_hash(frames) ^ hash_u64(elf_file_size(f)) ^
	                  hash_u64(elf_file_is_program(f) ? ~elf_file_entry(f) : 1);
	key.file_identity = identity_of(f);
	return key;
}

static int make(struct elf_file *f, struct unwind_table *t, bool cached, struct error *err)
{
	cleanup(frames_clear) struct frames frames = { 0 };
	struct cache_key key = { 0 };
	int r;

	if (elf_file_machine(f) != EM_X86_64)
		return 0;
	find_text(f, &t->text_base, &t->text_end);
	r = frames_load(f, &frames, err);
	if (r < 0)
		return r;
	if (cached)
		key = key_of(f, &frames);
	if (!cache_load(&key, t)) {
		r = make_rows(t, f, &frames, err);
		if (r < 0)
			return r;
		if (t->n_rows >= MIN_CACHED_ROWS || t->n_followed >= MIN_CACHED_FOLLOWED)
			cache_store(&key, t);
	}
	return make_index(t, err);
}

static int make_table(struct elf_file *f, bool cached, struct unwind_table **ret, struct error *err)
{
	cleanup(unwind_table_freep) struct unwind_table *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return error_oom(err);
	r = make(f, t, cached, err);
	if (r < 0)
		return error_context(err, "%s: unwind table", elf_file_name(f));
	*ret = take_ptr(t);
	return 0;
}

int unwind_table_make(struct elf_file *f, struct unwind_table **ret, struct error *err)
{
	return make_table(f, false, ret, err);
}

int unwind_table_cached(struct elf_file *f, struct unwind_table **ret, struct error *err)
{
	return make_table(f, true, ret, err);
}

const struct unwind_row *unwind_table_find(const struct unwind_table *t, uint64_t vaddr)
{
	size_t slot, lo, hi;

	if (!t->n_rows || vaddr < t->text_base || vaddr >= t->text_end)
		return NULL;
	vaddr -= t->text_base;
	slot = vaddr >> UNWIND_INDEX_SHIFT;
	/* the answer is one of [lo, hi] */
	lo = t->index[slot];
	hi = slot + 1 < t->n_index ? t->index[slot + 1] : t->n_rows - 1;
	lo += partition_point(hi - lo, i, t->rows[lo + 1 + i].pc <= vaddr);
	return &t->rows[lo];
}
