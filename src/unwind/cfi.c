/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "unwind/cfi.h"

#include <dwarf.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "unwind/cfa_program.h"
#include "unwind/cursor.h"

/* Layouts: DWARF 5, 6.4.1; .eh_frame: LSB core 5.0, 10.6. */
enum { CIE_SLOTS = 64, DWARF_RIP = 16 };
/* real ones have some 30 bytes; with huge ones that push each other out of
 * their slot a file could make the work quadratic */
enum { MAX_CIE_BYTES = 1024 };

struct cie {
	size_t offset; /* of its length field; with `known` what the slot holds */
	bool known, usable;
	bool signal;    /* 'S': the frame's caller was interrupted, not calling */
	bool augmented; /* 'z': FDEs have augmentation data */
	struct cfa_program program;
};

struct walk {
	const struct cfi_section *section;
	struct rows *rows;
	struct cie cies[CIE_SLOTS];
	size_t n_fdes;
};

struct entry {
	size_t offset, next; /* of its length field, of the next one */
	uint64_t id;         /* 0 (or all ones): CIE; else where the CIE is */
	size_t id_offset;
	struct cursor body;
	bool is_64;
};

/* Size of a fixed-size encoding, 0 for LEB128 ones and unknown ones. */
static size_t encoded_bytes(uint8_t encoding)
{
	switch (encoding & 0x0f) {
	case DW_EH_PE_udata2:
	case DW_EH_PE_sdata2: return 2;
	case DW_EH_PE_udata4:
	case DW_EH_PE_sdata4: return 4;
	case DW_EH_PE_absptr:
	case DW_EH_PE_udata8:
	case DW_EH_PE_sdata8: return 8;
	default: return 0;
	}
}

static bool encoded_value(struct cursor *c, uint8_t encoding, uint64_t *ret)
{
	size_t bytes = encoded_bytes(encoding);
	uint8_t form = encoding & 0x0f;

	if (bytes)
		*ret = form & DW_EH_PE_signed ? (uint64_t)cursor_int(c, bytes)
		                              : cursor_uint(c, bytes);
	else if (form == DW_EH_PE_uleb128)
		*ret = cursor_uleb(c);
	else if (form == (DW_EH_PE_uleb128 | DW_EH_PE_signed))
		*ret = (uint64_t)cursor_sleb(c);
	else
		return false;
	return !c->bad;
}

bool cfi_encoded(struct cursor *c, uint8_t encoding, uint64_t vaddr, uint64_t *ret)
{
	uint64_t value;

	if (encoding == DW_EH_PE_omit || !encoded_value(c, encoding, &value))
		return false;
	if ((encoding & 0xf0) == DW_EH_PE_pcrel)
		value += vaddr;
	else if ((encoding & 0xf0) != DW_EH_PE_absptr)
		return false;
	*ret = value;
	return true;
}

static uint64_t vaddr_at(const struct walk *w, const struct cursor *c)
{
	return w->section->vaddr + (c->at - w->section->data);
}

/* The entry at @offset; false where there is none. One without a body is a
 * terminator, which may stand in the middle (crtend.o linked too early). */
static bool read_entry(const struct walk *w, size_t offset, struct entry *e)
{
	const struct cfi_section *s = w->section;
	struct cursor c = cursor_on(s->data + offset, s->len - offset);
	uint64_t len = cursor_uint(&c, 4);

	*e = (struct entry){ .offset = offset, .is_64 = len == 0xffffffff };
	if (e->is_64)
		len = cursor_uint(&c, 8);
	if (c.bad || len > cursor_left(&c))
		return false;
	e->id_offset = c.at - s->data;
	e->next = e->id_offset + len;
	e->body = cursor_on(c.at, len);
	e->id = cursor_uint(&e->body, e->is_64 && !s->is_eh ? 8 : 4);
	return true;
}

static bool is_cie(const struct walk *w, const struct entry *e)
{
	if (w->section->is_eh)
		return e->id == 0;
	return e->id == (e->is_64 ? UINT64_MAX : 0xffffffff);
}

/* 'P': an encoded pointer that is of no use here. */
static void skip_personality(const struct walk *w, struct cursor *c)
{
	uint8_t encoding = cursor_uint(c, 1);
	uint64_t ignored;

	if ((encoding & 0x70) == DW_EH_PE_aligned)
		cursor_skip(c, -vaddr_at(w, c) & 7);
	if (!encoded_value(c, encoding, &ignored))
		cursor_fail(c);
}

/* Letters behind 'z'. One that is not known ends the reading: whether an 'R'
 * follows can't be told then, and without it addresses would be misread. */
static bool read_augmentation(const struct walk *w, struct cie *cie, const char *letters,
                              struct cursor data)
{
	for (; *letters; letters++)
		switch (*letters) {
		case 'R': cie->program.encoding = cursor_uint(&data, 1); break;
		case 'P': skip_personality(w, &data); break;
		case 'L': cursor_uint(&data, 1); break;
		case 'S': cie->signal = true; break;
		default: return false;
		}
	return !data.bad;
}

static bool read_cie_header(const struct walk *w, struct cie *cie, struct cursor *c)
{
	uint8_t version = cursor_uint(c, 1);
	const char *letters = cursor_string(c);
	uint64_t rip, len;
	struct cursor data;

	if (!letters || (version != 1 && version != 3 && version != 4))
		return false;
	if (version == 4 && (cursor_uint(c, 1) != 8 || cursor_uint(c, 1) != 0))
		return false; /* address size, segment selector size */
	if (!strcmp(letters, "eh")) {
		cursor_skip(c, 8); /* gcc 2 */
		letters = "";
	}
	cie->program.code_factor = cursor_uleb(c);
	cie->program.data_factor = cursor_sleb(c);
	rip = version == 1 ? cursor_uint(c, 1) : cursor_uleb(c);
	if (rip != DWARF_RIP || c->bad)
		return false;
	if (*letters != 'z') { /* gas writes a bare "S" in .debug_frame */
		cie->signal = !strcmp(letters, "S");
		return !*letters || cie->signal;
	}
	cie->augmented = true;
	len = cursor_uleb(c);
	data = *c;
	cursor_skip(c, len);
	data.end = c->at;
	return !c->bad && read_augmentation(w, cie, letters + 1, data);
}

static void read_cie(struct walk *w, size_t offset, struct cie *cie)
{
	struct cfa_state state = cfa_program_start();
	struct entry e;
	struct error err;

	*cie = (struct cie){ .offset = offset, .known = true };
	if (!read_entry(w, offset, &e) || !is_cie(w, &e) || cursor_left(&e.body) > MAX_CIE_BYTES ||
	    !read_cie_header(w, cie, &e.body))
		return;
	cie->program.initial = state;
	/* without rows nothing can fail */
	cfa_program_run(&cie->program, e.body, 0, &state, NULL, &err);
	cie->program.initial = state;
	cie->usable = true;
}

static struct cie *cie_at(struct walk *w, size_t offset)
{
	struct cie *cie = &w->cies[(offset >> 2) % CIE_SLOTS];

	if (!cie->known || cie->offset != offset)
		read_cie(w, offset, cie);
	return cie;
}

static struct cie *cie_of(struct walk *w, const struct entry *e)
{
	/* .eh_frame counts back from the field, .debug_frame from the start */
	uint64_t offset = w->section->is_eh ? e->id_offset - e->id : e->id;
	struct cie *cie;

	if (offset >= w->section->len)
		return NULL;
	cie = cie_at(w, offset);
	return cie->usable ? cie : NULL;
}

static bool read_range(const struct walk *w, const struct cie *cie, struct cursor *c,
                       uint64_t *start, uint64_t *end)
{
	uint8_t encoding = cie->program.encoding;
	uint64_t size;

	if (!cfi_encoded(c, encoding, vaddr_at(w, c), start) ||
	    !encoded_value(c, encoding & 0x0f, &size) || __builtin_add_overflow(*start, size, end))
		return false;
	if (cie->augmented)
		cursor_skip(c, cursor_uleb(c));
	return !c->bad;
}

/* Rows of an 'S' frame that is not glibc's signal trampoline can't be used:
 * there is no way to say that the caller's pc is exact. */
static void refuse_signal_rules(struct rows *rows)
{
	struct rows_piece *p = &rows->pieces[rows->n_pieces - 1];

	for (size_t i = 0; i < p->n; i++) {
		struct unwind_row *row = &rows->items[p->first + i];

		if (row->type == UNWIND_SIGNAL || row->type == UNWIND_END)
			continue;
		*row = (struct unwind_row){ .pc = row->pc, .type = UNWIND_NONE };
		rows->n_dropped++;
	}
}

static int add_fde(struct walk *w, struct entry *e, struct error *err)
{
	struct cie *cie = cie_of(w, e);
	struct cfa_state state;
	uint64_t start, end;
	int r;

	w->n_fdes++;
	if (!cie || !read_range(w, cie, &e->body, &start, &end)) {
		w->rows->n_dropped++;
		return 0;
	}
	r = rows_begin(w->rows, start, end, err);
	if (r)
		return r < 0 ? r : 0;
	state = cie->program.initial;
	r = cfa_program_run(&cie->program, e->body, start, &state, w->rows, err);
	if (r < 0)
		return r;
	if (cie->signal)
		refuse_signal_rules(w->rows);
	return 0;
}

int cfi_add_rows(const struct cfi_section *s, struct rows *rows, size_t *n_fdes, struct error *err)
{
	cleanup_free struct walk *w = calloc(1, sizeof(*w));
	struct entry e;

	if (!w)
		return error_oom(err);
	w->section = s;
	w->rows = rows;
	for (size_t at = 0; at < s->len && read_entry(w, at, &e); at = e.next) {
		int r = e.body.bad || is_cie(w, &e) ? 0 : add_fde(w, &e, err);

		if (r < 0)
			return r;
	}
	*n_fdes += w->n_fdes;
	return 0;
}
