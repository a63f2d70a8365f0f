/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "unwind/prologue.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/search.h"
#include "unwind/flow.h"

enum { MAX_SYMTAB_BYTES = 24 << 20, MAX_CODE_BYTES = 16 << 20, MAX_NAME_BYTES = 4096 };

struct function {
	uint64_t start, end;
	bool bad; /* it does not begin where it is entered */
	uint8_t *code;
};

struct functions {
	const struct rows *rows;
	struct function *items;
	size_t n_items, cap_items;
	struct error *err;
};

static void functions_clear(struct functions *l)
{
	for (size_t i = 0; i < l->n_items; i++)
		free(l->items[i].code);
	free(l->items);
}

/* A ".cold" part is jumped to from the middle of its function. Of a name that
 * never seems to end only the beginning is looked at: a hostile file can have
 * very many of them that share their bytes. */
static bool may_be_cold(const char *name)
{
	size_t len = strnlen(name, MAX_NAME_BYTES);

	return len == MAX_NAME_BYTES || memmem(name, len, ".cold", 5);
}

static int collect(const struct elf_symbol *s, void *arg)
{
	struct functions *l = arg;
	uint64_t end;

	if (!s->defined || s->type != STT_FUNC || !s->size ||
	    __builtin_add_overflow(s->value, s->size, &end) ||
	    !rows_is_free(l->rows, s->value, end))
		return 0;
	if (array_reserve(&l->items, &l->cap_items, l->n_items + 1, l->err) < 0)
		return -ENOMEM;
	l->items[l->n_items++] = (struct function){
		.start = s->value,
		.end = end,
		.bad = s->size > FLOW_MAX_BYTES || may_be_cold(s->name),
	};
	return 0;
}

static int by_start(const void *a, const void *b)
{
	const struct function *x = a, *y = b;

	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	return (x->end > y->end) - (x->end < y->end);
}

/* One entry for each start; functions that overlap are entered in the middle. */
static void sort_out(struct functions *l)
{
	size_t n = 0;
	uint64_t end = 0;

	if (!l->n_items)
		return;
	qsort(l->items, l->n_items, sizeof(*l->items), by_start);
	for (size_t i = 0; i < l->n_items; i++) {
		if (n && l->items[n - 1].start == l->items[i].start) {
			/* names of one function; if they differ in size, which is right? */
			l->items[n - 1].bad |= l->items[i].bad ||
			                       l->items[n - 1].end != l->items[i].end;
			if (l->items[n - 1].end < l->items[i].end)
				l->items[n - 1].end = l->items[i].end;
		} else {
			l->items[n++] = l->items[i];
		}
	}
	l->n_items = n;
	for (size_t i = 0; i < n; i++) {
		if (l->items[i].start < end) {
			l->items[i].bad = true;
			l->items[i - 1].bad = true;
		}
		end = l->items[i].end > end ? l->items[i].end : end;
	}
}

/* Code that can't be read is code that is not understood. */
static int read_code(const struct elf_file *f, struct functions *l)
{
	uint64_t left = MAX_CODE_BYTES;

	for (size_t i = 0; i < l->n_items; i++) {
		struct function *fn = &l->items[i];
		uint64_t size = fn->end - fn->start;
		struct error err;

		if (fn->bad)
			continue;
		if (size > left) {
			log_note(LOG_DEBUG, "%s: too much code without frame information",
			         elf_file_name(f));
			fn->bad = true;
			continue;
		}
		left -= size;
		fn->code = malloc(size);
		if (!fn->code)
			return error_oom(l->err);
		if (elf_file_read_vaddr(f, fn->start, fn->code, size, &err) < 0)
			fn->bad = true;
	}
	return 0;
}

static struct function *function_at(const struct functions *l, uint64_t vaddr)
{
	size_t behind = partition_point(l->n_items, i, l->items[i].start <= vaddr);

	return behind && vaddr < l->items[behind - 1].end ? &l->items[behind - 1] : NULL;
}

static void note_exit(uint64_t target, void *arg)
{
	struct function *fn = function_at(arg, target);

	if (fn && target != fn->start)
		fn->bad = true;
}

static int add_function(const struct function *fn, struct rows *rows, size_t *n_functions,
                        struct error *err)
{
	int r = rows_begin(rows, fn->start, fn->end, err);

	if (r)
		return r < 0 ? r : 0;
	r = flow_add_rows(fn->code, fn->end - fn->start, fn->start, rows, err);
	if (r > 0)
		rows_abandon(rows);
	else if (!r)
		++*n_functions;
	return r < 0 ? r : 0;
}

/* @len bytes at @vaddr are of one @type, if they are @code. */
static int add_known(const struct elf_file *f, struct rows *rows, uint64_t vaddr, size_t len,
                     const uint8_t *code, uint64_t start, enum unwind_cfa type, struct error *err)
{
	uint8_t found[16];
	struct error ignored;
	int r;

	if (len > sizeof(found) || elf_file_read_vaddr(f, vaddr, found, len, &ignored) < 0 ||
	    memcmp(found, code, len) != 0 || !rows_is_free(rows, start, vaddr + len))
		return 0;
	r = rows_begin(rows, start, vaddr + len, err);
	return r ? (r < 0 ? r : 0)
	         : rows_add(rows, start, (struct unwind_row){ .type = type }, err);
}

/* Code whose frame no analysis of stack depths can tell (musl 1.2,
 * src/signal/x86_64/restore.s, src/thread/x86_64/clone.s, arch/x86_64/crt_arch.h). */
static int add_by_name(struct elf_file *f, struct rows *rows, struct error *err)
{
	/* mov $15,%rax; syscall; a nop before it is for callers' pc - 1 */
	static const uint8_t restore[] = { 0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05 };
	/* xor %ebp,%ebp; pop %rdi; call *%r9: a new thread's outermost frame */
	static const uint8_t child[] = { 0x31, 0xed, 0x5f, 0x41, 0xff, 0xd1 };
	struct elf_symbol s;
	int r;

	if (!elf_file_symbol(f, ELF_ALL, "__restore_rt", &s) && s.value) {
		r = add_known(f, rows, s.value, sizeof(restore), restore, s.value - 1,
		              UNWIND_SIGNAL, err);
		if (r < 0)
			return r;
	}
	if (elf_file_symbol(f, ELF_ALL, "__clone", &s) < 0)
		return 0;
	for (uint64_t at = s.value; at < s.value + 64; at++) {
		r = add_known(f, rows, at, sizeof(child), child, at, UNWIND_END, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* crt1.o's _start has no frame information in musl and no size. */
static int add_entry(struct elf_file *f, struct rows *rows, struct error *err)
{
	/* and $-16,%rsp; call */
	static const uint8_t call[] = { 0x48, 0x83, 0xe4, 0xf0, 0xe8 };
	uint64_t entry = elf_file_entry(f);
	uint8_t code[64];
	struct error ignored;
	const uint8_t *at;
	uint64_t end;
	int r;

	if (!elf_file_is_program(f) ||
	    elf_file_read_vaddr(f, entry, code, sizeof(code), &ignored) < 0)
		return 0;
	at = memmem(code, sizeof(code) - 4, call, sizeof(call));
	if (!at)
		return 0;
	end = entry + (at - code) + sizeof(call) + 4;
	if (!rows_is_free(rows, entry, end))
		return 0;
	r = rows_begin(rows, entry, end, err);
	return r ? (r < 0 ? r : 0)
	         : rows_add(rows, entry, (struct unwind_row){ .type = UNWIND_END }, err);
}

static int add_all(struct functions *l, struct rows *rows, size_t *n_functions, struct error *err)
{
	for (size_t i = 0; i < l->n_items; i++)
		if (l->items[i].code)
			flow_each_exit(l->items[i].code, l->items[i].end - l->items[i].start,
			               l->items[i].start, note_exit, l);
	for (size_t i = 0; i < l->n_items; i++) {
		int r = l->items[i].bad ? 0 : add_function(&l->items[i], rows, n_functions, err);

		if (r < 0)
			return r;
	}
	return 0;
}

int prologue_add_rows(struct elf_file *f, struct rows *rows, size_t *n_functions, struct error *err)
{
	cleanup(functions_clear) struct functions l = { .rows = rows, .err = err };
	struct elf_section s;
	int r;

	if (elf_file_section(f, ".symtab", &s) && s.size > MAX_SYMTAB_BYTES)
		return 0;
	r = elf_file_each_symbol(f, ELF_ALL, collect, &l);
	if (r < 0)
		return r;
	sort_out(&l);
	r = read_code(f, &l);
	if (!r)
		r = add_all(&l, rows, n_functions, err);
	if (!r)
		r = add_entry(f, rows, err);
	if (!r && l.n_items)
		r = add_by_name(f, rows, err);
	rows_sort(rows);
	return r;
}
