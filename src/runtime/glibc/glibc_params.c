/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/glibc/glibc_params.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

/* struct malloc_par up to sbrk_base, in bytes from its start: glibc 2.26 to
 * 2.34, and since 2.35, which put thp_pagesize, hp_pagesize, hp_flags in. */
struct form {
	unsigned n_mmaps, mmapped, sbrk_base;
	bool huge;
};
static const struct form forms[] = {
	{ 60, 80, 96, true },
	{ 40, 56, 72, false },
};
enum {
	AT_TRIM_THRESHOLD = 0,
	AT_TOP_PAD = 8,
	AT_MMAP_THRESHOLD = 16,
	AT_ARENA_TEST = 24,
	AT_THP_PAGESIZE = 40,
	AT_HP_PAGESIZE = 48,
	FORM_BYTES = 104,
	NEAR = 256 << 10, /* of the main arena: both are .data or .bss of malloc.o */
	DEFAULT_PAD = 131072,
	DEFAULT_MAX_MMAPS = 65536,
	DEFAULT_ARENA_TEST = 8,
};

static uint64_t word_at(const uint8_t *b, size_t at)
{
	uint64_t w;

	memcpy(&w, b + at, sizeof(w));
	return w;
}

static bool counters_agree(const uint8_t *b, const struct form *f)
{
	uint64_t mmapped = word_at(b, f->mmapped), most = word_at(b, f->mmapped + 8);
	int32_t n[4]; /* n_mmaps, n_mmaps_max, max_n_mmaps, no_dyn_threshold */

	memcpy(n, b + f->n_mmaps, sizeof(n));
	return n[0] >= 0 && n[0] <= n[2] && n[1] >= 0 && (n[3] == 0 || n[3] == 1) &&
	       mmapped % 4096 == 0 && mmapped <= most && (n[0] == 0) == (mmapped == 0) &&
	       (n[2] == 0) == (most == 0);
}

static bool thresholds_agree(const uint8_t *b, const struct form *f)
{
	const uint64_t most = 1ull << 46;
	uint64_t hp = f->huge ? word_at(b, AT_HP_PAGESIZE) : 0;

	return word_at(b, AT_MMAP_THRESHOLD) <= most && word_at(b, AT_ARENA_TEST) <= 1 << 20 &&
	       word_at(b, AT_TOP_PAD) <= most && (hp & (hp - 1)) == 0 && hp <= 1ull << 34;
}

static bool has_defaults(const uint8_t *b, const struct form *f)
{
	int32_t most;

	memcpy(&most, b + f->n_mmaps + 4, sizeof(most));
	return most == DEFAULT_MAX_MMAPS && word_at(b, AT_TOP_PAD) == DEFAULT_PAD &&
	       word_at(b, AT_ARENA_TEST) == DEFAULT_ARENA_TEST;
}

static bool is_params(const uint8_t *b, const struct form *f, const struct glibc_arena *main)
{
	uint64_t base = word_at(b, f->sbrk_base);
	uint64_t start = main->top + main->top_bytes - main->system_bytes;

	if (!counters_agree(b, f) || !thresholds_agree(b, f))
		return false;
	if (main->system_bytes && main->contiguous)
		return base == start;
	return has_defaults(b, f);
}

static void take(const uint8_t *b, const struct form *f, struct glibc_params *ret)
{
	*ret = (struct glibc_params){
		.found = true,
		.trim_threshold = word_at(b, AT_TRIM_THRESHOLD),
		.mmap_threshold = word_at(b, AT_MMAP_THRESHOLD),
		.mmapped_bytes = word_at(b, f->mmapped),
		.thp_pagesize = f->huge ? word_at(b, AT_THP_PAGESIZE) : 0,
		.hp_pagesize = f->huge ? word_at(b, AT_HP_PAGESIZE) : 0,
	};
	memcpy(&ret->n_mmaps, b + f->n_mmaps, sizeof(ret->n_mmaps));
}

void glibc_params_find(struct peek *p, const struct regions_data *data,
                       const struct glibc_arena *main, struct glibc_params *ret)
{
	uint64_t start = main->at - data->start > NEAR ? main->at - NEAR : data->start;
	uint64_t end = data->end - main->at > NEAR ? main->at + NEAR : data->end;
	cleanup_free uint8_t *buf = NULL;

	*ret = (struct glibc_params){ 0 };
	if (start >= end)
		return;
	start &= ~7ull;
	buf = malloc(end - start);
	if (!buf || !peek_fill(p, start, buf, end - start))
		return;
	for (size_t k = 0; k < ARRAY_SIZE(forms); k++) {
		for (size_t i = 0; i + FORM_BYTES <= end - start; i += 8) {
			if (!is_params(buf + i, &forms[k], main))
				continue;
			take(buf + i, &forms[k], ret);
			return;
		}
	}
}
