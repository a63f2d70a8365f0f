/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_code.h"

#include <string.h>

#include "runtime/go/go_machine.h"
#include "target/image.h"

enum {
	WORD = 8,
	PCDATA_INLTREE_INDEX = 2,
	FUNCDATA_INLTREE = 3,
	MAX_FUNCTIONS = 1 << 28,
	MAX_STEPS = 1 << 20,
	MAX_PCDATA = 64,
	VARINT_BYTES = 5,
	PIECE = 64,
};

/* ---- functions ---- */

/* Entries are offsets since 1.18 (functab). */
static bool is_offsets(const struct go_module *m)
{
	return m->layout->minor >= 18;
}

static uint64_t entry_of(const struct go_module *m, uint64_t k)
{
	return is_offsets(m) ? m->text + image_uint32(m->image, m->ftab + k * 8)
	                     : image_uint64(m->image, m->ftab + k * 16);
}

static struct go_code_function function_at(const struct go_module *m, uint64_t k)
{
	return (struct go_code_function){
		.entry = entry_of(m, k),
		.end = entry_of(m, k + 1),
		.record = m->functions + (is_offsets(m)
		                                  ? image_uint32(m->image, m->ftab + k * 8 + 4)
		                                  : image_uint64(m->image, m->ftab + k * 16 + 8)),
	};
}

bool go_code_function(const struct go_module *m, uint64_t pc, struct go_code_function *ret)
{
	uint64_t low = 0, high = m->n_ftab;

	/* the last entry is the end of the text */
	if (pc < m->text || pc >= m->etext || high < 2 || high > MAX_FUNCTIONS)
		return false;
	for (high--; high - low > 1;) {
		uint64_t mid = low + (high - low) / 2;

		if (entry_of(m, mid) <= pc)
			low = mid;
		else
			high = mid;
	}
	*ret = function_at(m, low);
	return pc >= ret->entry && pc < ret->end;
}

bool go_code_find(const struct go_module *m, const char *name, struct go_code_function *ret)
{
	size_t len = strlen(name) + 1;
	char buf[64];

	if (m->n_ftab < 2 || m->n_ftab > MAX_FUNCTIONS || len > sizeof(buf))
		return false;
	for (uint64_t k = 0; k + 1 < m->n_ftab; k++) {
		struct go_code_function f = function_at(m, k);

		if (image_read(m->image, m->func_names + go_code_name_of(m, &f), buf, len) == 0 &&
		    !memcmp(buf, name, len)) {
			*ret = f;
			return true;
		}
	}
	return false;
}

/* ---- names ---- */

uint32_t go_code_name_of(const struct go_module *m, const struct go_code_function *f)
{
	return image_uint32(m->image, f->record + m->layout->func_name);
}

void go_code_text(const struct go_module *m, uint64_t at, char *buf, size_t size)
{
	size_t n = 0;

	while (n + 1 < size) {
		size_t piece = size - 1 - n < PIECE ? size - 1 - n : PIECE;

		/* near the end of a mapping byte by byte */
		if (image_read(m->image, at + n, buf + n, piece) < 0) {
			piece = 1;
			if (image_read(m->image, at + n, buf + n, 1) < 0)
				break;
		}
		if (memchr(buf + n, '\0', piece))
			return;
		n += piece;
	}
	buf[n] = '\0';
}

void go_code_shorten(char *name, size_t size)
{
	char *open = strchr(name, '['), *close = strrchr(name, ']');

	if (!open)
		return;
	/* cut: types of a shape are long */
	if (!close || close < open)
		close = name + strlen(name);
	if ((size_t)(open - name) + 4 + strlen(close) + 1 > size)
		return;
	memmove(open + 4, close, strlen(close) + 1);
	memcpy(open + 1, "...", 3);
}

void go_code_name(const struct go_module *m, uint32_t offset, char *buf, size_t size)
{
	go_code_text(m, m->func_names + offset, buf, size);
	go_code_shorten(buf, size);
}

void go_code_name_at(const struct go_module *m, uint64_t pc, char *buf, size_t size)
{
	struct go_code_function f;

	buf[0] = '\0';
	if (go_code_function(m, pc, &f))
		go_code_name(m, go_code_name_of(m, &f), buf, size);
}

/* ---- values by pc (symtab.go: pcvalue, step, readvarint) ---- */

struct table {
	struct image *image;
	uint64_t at;
	uint8_t piece[PIECE];
	size_t pos, have;
};

static bool next_byte(struct table *t, uint8_t *ret)
{
	if (t->pos == t->have) {
		t->at += t->have;
		t->pos = 0;
		t->have = PIECE;
		/* the end of the table may be the end of what is mapped */
		if (image_read(t->image, t->at, t->piece, PIECE) < 0)
			t->have = image_read(t->image, t->at, t->piece, 1) == 0;
		if (!t->have)
			return false;
	}
	*ret = t->piece[t->pos++];
	return true;
}

static bool varint(struct table *t, uint32_t *ret)
{
	uint8_t byte;

	*ret = 0;
	for (unsigned i = 0; i < VARINT_BYTES; i++) {
		if (!next_byte(t, &byte))
			return false;
		*ret |= (uint32_t)(byte & 0x7f) << 7 * i;
		if (!(byte & 0x80))
			return true;
	}
	return false;
}

int32_t go_code_value(const struct go_module *m, const struct go_code_function *f, uint32_t offset,
                      uint64_t pc)
{
	struct table t = { .image = m->image, .at = m->pc_table + offset };
	uint32_t value = UINT32_MAX, change, advance;
	uint64_t at = f->entry;

	if (!offset || offset >= image_uint64(m->image, m->at + m->layout->moduledata_pctab + WORD))
		return -1;
	/* zigzag differences of the value, then of the pc */
	/* each step is one of the pc at least */
	for (uint64_t i = 0; i <= f->end - f->entry && i < MAX_STEPS; i++) {
		if (!varint(&t, &change) || (!change && i) || !varint(&t, &advance))
			return -1;
		value += (change >> 1) ^ (0 - (change & 1));
		at += (uint64_t)advance * GO_MACHINE_PC_QUANTUM;
		if (pc < at)
			return (int32_t)value;
	}
	return -1;
}

/* ---- what stands behind a _func: pcdata's offsets, then funcdata ---- */

static uint64_t behind_record(const struct go_module *m, const struct go_code_function *f)
{
	/* nfuncdata is its last byte */
	return f->record + m->layout->func_nfuncdata + 1;
}

static uint32_t n_pcdata(const struct go_module *m, const struct go_code_function *f)
{
	return image_uint32(m->image, f->record + m->layout->func_npcdata);
}

int32_t go_code_pcdata(const struct go_module *m, const struct go_code_function *f, unsigned n,
                       uint64_t pc)
{
	const uint32_t have = n_pcdata(m, f);

	if (n >= have || have > MAX_PCDATA)
		return -1;
	return go_code_value(m, f, image_uint32(m->image, behind_record(m, f) + 4 * n), pc);
}

/* Pointers (1.17), or offsets from moduledata.gofunc. */
uint64_t go_code_funcdata(const struct go_module *m, const struct go_code_function *f, unsigned n)
{
	uint64_t at = behind_record(m, f) + 4ull * n_pcdata(m, f), base;
	uint32_t offset;
	uint8_t have = 0;

	if (image_read(m->image, behind_record(m, f) - 1, &have, 1) < 0 || n >= have)
		return 0;
	if (!is_offsets(m))
		return image_uint64(m->image, (at + WORD - 1) / WORD * WORD + WORD * n);
	base = image_uint64(m->image, m->at + m->layout->moduledata_gofunc);
	if (!base || image_read(m->image, at + 4 * n, &offset, sizeof(offset)) < 0 ||
	    offset == UINT32_MAX)
		return 0;
	return base + offset;
}

bool go_code_inlined(const struct go_module *m, const struct go_code_function *f, uint64_t pc,
                     struct go_code_call *ret)
{
	/* runtime.inlinedCall: from 1.20 on shorter */
	const bool old = m->layout->minor < 20;
	int32_t k = go_code_pcdata(m, f, PCDATA_INLTREE_INDEX, pc);
	uint64_t tree = k >= 0 ? go_code_funcdata(m, f, FUNCDATA_INLTREE) : 0, call;

	if (!tree)
		return false;
	call = tree + (old ? 20ull : 16ull) * (uint32_t)k;
	*ret = (struct go_code_call){
		.name = image_uint32(m->image, call + (old ? 12 : 4)),
		.caller = f->entry + image_uint32(m->image, call + (old ? 16 : 8)),
	};
	return true;
}
