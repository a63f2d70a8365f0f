/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_pclntab.h"

#include <stdio.h>
#include <string.h>

#include "target/image.h"

/*
 * Facts from runtime/symtab.go, runtime/symtabinl.go, runtime/runtime2.go and
 * internal/abi/symtab.go of Go 1.17 to 1.26.
 */
enum {
	PCDATA_INLTREE_INDEX = 2,
	FUNCDATA_INLTREE = 3,
	MAX_FUNCTIONS = 1 << 28,
	MAX_TABLE_BYTES = 1 << 20, /* of one function's values */
	MAX_PCDATA = 64,
	PIECE = 64,
};

static uint64_t word(const struct go_pclntab *t, uint64_t at)
{
	uint64_t v;

	return image_read(t->module->image, at, &v, sizeof(v)) == 0 ? v : 0;
}

static uint32_t half(const struct go_pclntab *t, uint64_t at)
{
	uint32_t v;

	return image_read(t->module->image, at, &v, sizeof(v)) == 0 ? v : 0;
}

void go_pclntab_open(const struct go_module *m, struct go_pclntab *ret)
{
	const struct go_layout *l = m->layout;
	struct go_pclntab t = { .module = m };

	t.units = word(&t, m->at + l->moduledata_cutab);
	t.n_units = word(&t, m->at + l->moduledata_cutab + 8);
	t.files = word(&t, m->at + l->moduledata_filetab);
	t.files_bytes = word(&t, m->at + l->moduledata_filetab + 8);
	t.pc_bytes = word(&t, m->at + l->moduledata_pctab + 8);
	if (l->moduledata_gofunc != GO_LAYOUT_NONE)
		t.gofunc = word(&t, m->at + l->moduledata_gofunc);
	*ret = t;
}

/* ---- functions ---- */

/* Entries are offsets since 1.18. */
static bool is_offsets(const struct go_pclntab *t)
{
	return t->module->layout->minor >= 18;
}

static uint64_t entry_of(const struct go_pclntab *t, uint64_t k)
{
	const struct go_module *m = t->module;

	return is_offsets(t) ? m->text + half(t, m->ftab + k * 8) : word(t, m->ftab + k * 16);
}

static struct go_pclntab_function function_at(const struct go_pclntab *t, uint64_t k)
{
	const struct go_module *m = t->module;

	return (struct go_pclntab_function){
		.entry = entry_of(t, k),
		.end = entry_of(t, k + 1),
		.at = m->functions + (is_offsets(t) ? half(t, m->ftab + k * 8 + 4)
		                                    : word(t, m->ftab + k * 16 + 8)),
	};
}

bool go_pclntab_function(const struct go_pclntab *t, uint64_t pc, struct go_pclntab_function *ret)
{
	uint64_t low = 0, high = t->module->n_ftab;

	/* the last entry is the end of the text */
	if (pc < t->module->text || pc >= t->module->etext || high < 2 || high > MAX_FUNCTIONS)
		return false;
	for (high--; high - low > 1;) {
		uint64_t mid = low + (high - low) / 2;

		if (entry_of(t, mid) <= pc)
			low = mid;
		else
			high = mid;
	}
	*ret = function_at(t, low);
	return pc >= ret->entry && pc < ret->end;
}

/* ---- texts ---- */

/* The NUL-terminated text at @at, cut to @size. */
static void text_at(const struct go_pclntab *t, uint64_t at, char *buf, size_t size)
{
	size_t n = 0;

	while (n + 1 < size) {
		size_t piece = size - 1 - n < PIECE ? size - 1 - n : PIECE;

		/* near the end of a mapping byte by byte */
		if (image_read(t->module->image, at + n, buf + n, piece) < 0) {
			piece = 1;
			if (image_read(t->module->image, at + n, buf + n, 1) < 0)
				break;
		}
		if (memchr(buf + n, '\0', piece))
			return;
		n += piece;
	}
	buf[n] = '\0';
}

/* Names are foreign bytes. */
static void clean(char *text)
{
	for (char *c = text; *c; c++) {
		if ((unsigned char)*c < ' ')
			*c = '?';
	}
}

/* "main.f[go.shape.int]" -> "main.f[...]" (symtab.go, funcNameForPrint). */
static void shorten(char *name, size_t size)
{
	char *open = strchr(name, '['), *close = strrchr(name, ']');
	size_t len = close > open ? strlen(close) + 1 : 0;

	if (!open || close <= open || (size_t)(open - name) + 4 + len > size)
		return;
	memmove(open + 4, close, len);
	memcpy(open + 1, "...", 3);
}

bool go_pclntab_find(const struct go_pclntab *t, const char *name, struct go_pclntab_function *ret)
{
	uint64_t n = t->module->n_ftab;
	size_t len = strlen(name) + 1;
	char buf[64];

	if (n < 2 || n > MAX_FUNCTIONS || len > sizeof(buf))
		return false;
	for (uint64_t k = 0; k + 1 < n; k++) {
		struct go_pclntab_function f = function_at(t, k);
		uint64_t at = t->module->func_names + half(t, f.at + t->module->layout->func_name);

		if (image_read(t->module->image, at, buf, len) == 0 && !memcmp(buf, name, len)) {
			*ret = f;
			return true;
		}
	}
	return false;
}

/* ---- values by pc ---- */

struct table {
	const uint8_t *at, *end;
};

static bool varint(struct table *t, uint32_t *ret)
{
	uint32_t v = 0;

	for (unsigned shift = 0; t->at < t->end && shift < 32; shift += 7) {
		uint8_t b = *t->at++;

		v |= (uint32_t)(b & 0x7f) << shift;
		if (!(b & 0x80)) {
			*ret = v;
			return true;
		}
	}
	return false;
}

/* The value that the table at @offset of pctab has for @pc; -1 none. */
static int32_t value_at(const struct go_pclntab *t, const struct go_pclntab_function *f,
                        uint32_t offset, uint64_t pc)
{
	uint64_t left = offset && offset < t->pc_bytes ? t->pc_bytes - offset : 0, at = f->entry;
	uint32_t value = UINT32_MAX, delta, step;
	struct table x;

	if (left > MAX_TABLE_BYTES)
		left = MAX_TABLE_BYTES;
	x.at = left ? image_at(t->module->image, t->module->pc_table + offset, left) : NULL;
	x.end = x.at + left;
	/* zigzag differences of the value, then of the pc; the quantum is 1 on x86 */
	while (x.at && varint(&x, &delta) && (delta || at == f->entry) && varint(&x, &step)) {
		value += (delta >> 1) ^ (0 - (delta & 1));
		at += step;
		if (pc < at)
			return (int32_t)value;
	}
	return -1;
}

/* ---- inlined calls ---- */

/* Fields of _func up to nfuncdata, its last byte: pcdata is behind it. */
static unsigned record_bytes(const struct go_pclntab *t)
{
	return t->module->layout->func_nfuncdata + 1;
}

static uint64_t inline_tree(const struct go_pclntab *t, const struct go_pclntab_function *f,
                            uint32_t n_pcdata)
{
	uint64_t at = f->at + record_bytes(t) + 4ull * n_pcdata;
	uint8_t n;
	uint32_t offset;

	if (image_read(t->module->image, f->at + record_bytes(t) - 1, &n, 1) < 0 ||
	    n <= FUNCDATA_INLTREE)
		return 0;
	if (!is_offsets(t))
		return word(t, (at + 7) / 8 * 8 + 8 * FUNCDATA_INLTREE);
	if (image_read(t->module->image, at + 4 * FUNCDATA_INLTREE, &offset, 4) < 0 ||
	    offset == UINT32_MAX)
		return 0;
	return t->gofunc + offset;
}

/* The name's offset of the innermost inlined call at @pc; false: there is none. */
static bool inlined(const struct go_pclntab *t, const struct go_pclntab_function *f, uint64_t pc,
                    uint32_t *ret)
{
	bool is_new = t->module->layout->minor >= 20; /* inlinedCall: 16 bytes, before 20 */
	uint32_t n_pcdata = half(t, f->at + t->module->layout->func_npcdata);
	int32_t index;
	uint64_t tree;

	if (n_pcdata <= PCDATA_INLTREE_INDEX || n_pcdata > MAX_PCDATA)
		return false;
	tree = inline_tree(t, f, n_pcdata);
	index = tree ? value_at(t, f, half(t, f->at + record_bytes(t) + 4 * PCDATA_INLTREE_INDEX),
	                        pc)
	             : -1;
	if (index < 0)
		return false;
	*ret = half(t,
	            tree + (is_new ? 16ull * (uint32_t)index + 4 : 20ull * (uint32_t)index + 12));
	return true;
}

bool go_pclntab_name(const struct go_pclntab *t, const struct go_pclntab_function *f, uint64_t pc,
                     char *buf, size_t size)
{
	uint32_t name = half(t, f->at + t->module->layout->func_name);
	bool is_inlined = inlined(t, f, pc, &name);

	text_at(t, t->module->func_names + name, buf, size);
	shorten(buf, size);
	clean(buf);
	return is_inlined;
}

unsigned go_pclntab_line(const struct go_pclntab *t, const struct go_pclntab_function *f,
                         uint64_t pc, char *file, size_t size)
{
	const struct go_layout *l = t->module->layout;
	int32_t number = value_at(t, f, half(t, f->at + l->func_pcfile), pc);
	int32_t line = value_at(t, f, half(t, f->at + l->func_pcln), pc);
	uint64_t unit = (uint64_t)half(t, f->at + l->func_cu) + (uint32_t)number;
	uint32_t offset;

	file[0] = '\0';
	if (number < 0 || line <= 0 || unit >= t->n_units)
		return 0;
	offset = half(t, t->units + 4 * unit);
	if (offset >= t->files_bytes)
		return 0;
	text_at(t, t->files + offset, file, size);
	clean(file);
	return (unsigned)line;
}
