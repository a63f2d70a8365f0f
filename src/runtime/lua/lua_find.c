/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/lua/lua_find.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"

enum {
	WINDOW = 1 << 20,
	OVERLAP = 40,      /* what lua_state_maybe() looks at */
	MAX_STATES = 1000, /* more are counted by nobody */
	RODATA_MAX = 16 << 20,
};
#define MAX_STACK        (8ull << 20)
#define MAX_THREAD_STACK (1ull << 20)
/* As large as no stack is: a heap that has stacks in it, Go's. Behind the stack are objects, and
 * each pointer in them would be followed; no C function runs there. */
#define HEAP_LEAST     (64ull << 20)
#define MAX_HEAP_STACK (64ull << 10)
#define MAX_DATA       (64ull << 20)
#define MAX_MEMORY     (2ull << 30)

struct finder {
	struct peek *peek;
	const struct maps *maps;
	struct lua_find *to;
	uint64_t refused[64]; /* global_States that looked right at first; a ring */
	size_t n_refused;
	bool doubts; /* states that are doubtful are told, too */
};

void lua_find_clear(struct lua_find *f)
{
	free(f->items);
	*f = (struct lua_find){ 0 };
}

static int add(struct finder *f, uint64_t addr, struct error *err)
{
	struct lua_state s;
	int r;

	if (f->to->n_items >= MAX_STATES || !lua_state_at(f->peek, f->maps, addr, &s))
		return 0;
	for (size_t i = 0; i < f->to->n_items; i++)
		if (f->to->items[i].global == s.global)
			return 0;
	for (size_t i = 0; i < ARRAY_SIZE(f->refused); i++)
		if (f->refused[i] == s.global)
			return 0;
	if (!lua_state_check(f->peek, &s, f->doubts)) {
		f->refused[f->n_refused++ % ARRAY_SIZE(f->refused)] = s.global;
		return 0;
	}
	r = array_reserve(&f->to->items, &f->to->cap_items, f->to->n_items + 1, err);
	if (r == 0)
		f->to->items[f->to->n_items++] = s;
	return r;
}

/* Heap memory: private, writable, of no file. */
static bool is_memory(const struct mapping *m)
{
	return !m->inode && (m->prot & MAPS_WRITE) && !(m->prot & MAPS_SHARED) &&
	       (m->name[0] != '[' || m->name[1] == 'h' || m->name[1] == 'a');
}

typedef int (*look_fn)(struct finder *f, const uint64_t *w, size_t n, uint64_t at,
                       struct error *err);

/* Words that point to a state. */
static int look_pointers(struct finder *f, const uint64_t *w, size_t n, uint64_t at,
                         struct error *err)
{
	uint64_t last = 0;
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		const struct mapping *m;

		if (w[i] < 4096 || w[i] % 8 || w[i] > INT64_MAX || w[i] == last)
			continue;
		last = w[i];
		m = maps_find(f->maps, w[i]);
		if (m && is_memory(m))
			r = add(f, w[i], err);
	}
	return r;
}

/* States themselves. */
static int look_states(struct finder *f, const uint64_t *w, size_t n, uint64_t at,
                       struct error *err)
{
	int r = 0;

	for (size_t i = 0; i + 5 <= n && r == 0; i++)
		if (lua_state_maybe(w + i, at + 8 * i))
			r = add(f, at + 8 * i, err);
	return r;
}

/* @look at what is present of [start, end), at most *left bytes. */
static int scan(struct finder *f, uint64_t start, uint64_t end, look_fn look, uint64_t *left,
                struct error *err)
{
	cleanup_free uint64_t *words = malloc(WINDOW);
	uint64_t from, to;
	int r = 0;

	if (!words)
		return error_oom(err);
	while (r == 0 && *left && peek_present(f->peek, start, end, &from, &to)) {
		for (uint64_t at = from; at < to && r == 0 && *left;) {
			uint64_t len = to - at < WINDOW ? to - at : WINDOW;

			if (peek_fill(f->peek, at, words, len))
				r = look(f, words, len / 8, at, err);
			*left -= len < *left ? len : *left;
			at += len < WINDOW ? len : len - OVERLAP;
		}
		start = to;
	}
	return r;
}

static int look_at_stacks(struct finder *f, const struct regions_input *in, struct error *err)
{
	int r = 0;

	for (size_t i = 0; i < in->maps->n_items && r == 0; i++) {
		const struct mapping *m = &in->maps->items[i];
		uint64_t left = MAX_STACK;

		if (strcmp(m->name, "[stack]") == 0)
			r = scan(f, m->start, m->end, look_pointers, &left, err);
	}
	for (size_t i = 0; i < in->threads->n_items && r == 0; i++) {
		const struct thread *t = &in->threads->items[i];
		uint64_t left = t->stack_end - t->stack_start < HEAP_LEAST ? MAX_THREAD_STACK
		                                                           : MAX_HEAP_STACK;

		/* the main thread's was the first */
		if (t->sp >= t->stack_start && t->sp < t->stack_end)
			r = scan(f, t->sp / 4096 * 4096, t->stack_end, look_pointers, &left, err);
	}
	return r;
}

static int look_at_data(struct finder *f, const char *exe, struct error *err)
{
	uint64_t left = MAX_DATA;
	struct regions_data d;
	int r = 0;

	for (size_t pos = 0; r == 0 && regions_next_data(f->maps, exe, &pos, &d);)
		r = scan(f, d.start, d.end, look_pointers, &left, err);
	return r;
}

static int look_everywhere(struct finder *f, struct error *err)
{
	uint64_t left = MAX_MEMORY;
	int r = 0;

	for (size_t i = 0; i < f->maps->n_items && r == 0; i++) {
		const struct mapping *m = &f->maps->items[i];

		if (is_memory(m))
			r = scan(f, m->start, m->end, look_states, &left, err);
	}
	return r;
}

static bool has_text(struct elf_file *elf, const char *const *texts, size_t n)
{
	cleanup_free void *bytes = NULL;
	struct elf_section s;
	struct error err;
	size_t len;
	bool found = false;

	if (!elf_file_section(elf, ".rodata", &s) ||
	    elf_file_section_data(elf, &s, RODATA_MAX, &bytes, &len, &err) < 0)
		return false;
	for (size_t i = 0; i < n; i++)
		found |= memmem(bytes, len, texts[i], strlen(texts[i])) != NULL;
	return found;
}

/* lapi.c has this text in every program that contains Lua. */
static bool has_ident(struct elf_file *elf)
{
	static const char *const idents[] = { "$LuaVersion: Lua 5.", "$Lua: Lua 5.1" };

	return has_text(elf, idents, ARRAY_SIZE(idents));
}

static bool has_lua(const struct runtime_view *v)
{
	struct symbol_module *m;
	size_t pos = 0;

	while (v->space && (m = runtime_next_module(v, &pos))) {
		struct elf_file *elf = symbol_module_elf(m);
		struct elf_symbol s;

		if (!elf)
			continue;
		if (elf_file_symbol(elf, ELF_ALL, "lua_newstate", &s) == 0 ||
		    (strcmp(symbol_module_path(m), v->target->exe) == 0 && has_ident(elf)))
			return true;
	}
	return false;
}

int lua_find_all(const struct runtime_view *v, const struct regions_input *in, struct peek *p,
                 struct lua_find *ret, struct error *err)
{
	struct finder f = { .peek = p, .maps = in->maps, .to = ret };
	int r = look_at_stacks(&f, in, err);

	if (r == 0)
		r = look_at_data(&f, v->target->exe, err);
	if (r == 0 && (ret->n_items || has_lua(v)))
		r = look_everywhere(&f, err);
	return r;
}

/* ---- memory that stands still ---- */

/* A core does not tell code from constants where it left both out. */
static unsigned prot_of(const struct image *i, const struct image_segment *s)
{
	const bool may_be_code = image_kind(i) == IMAGE_CORE && s->path[0] == '/' &&
	                         !(s->prot & MAPS_WRITE);

	return s->prot | (may_be_code ? MAPS_EXEC : 0);
}

static int maps_of(const struct image *i, struct maps *ret, struct error *err)
{
	int r = array_reserve(&ret->items, &ret->cap_items, image_n_segments(i) + 1, err);

	for (size_t k = 0; r == 0 && k < image_n_segments(i); k++) {
		const struct image_segment *s = image_segment(i, k);

		ret->items[ret->n_items++] = (struct mapping){
			.start = s->start,
			.end = s->end,
			.offset = s->file_offset,
			.inode = s->path[0] == '/',
			.prot = prot_of(i, s),
			.name = (char *)s->path,
		};
	}
	return r;
}

/* The names are the image's. */
static void clear_items(struct maps *m)
{
	free(m->items);
}

static uint64_t most_of_stack(const struct image *i, size_t thread, const struct image_segment *s)
{
	const bool is_main = image_kind(i) == IMAGE_PROCESS ? s && !strcmp(s->path, "[stack]")
	                                                    : thread == 0;

	if (s && s->end - s->start >= HEAP_LEAST && strcmp(s->path, "[stack]") != 0)
		return MAX_HEAP_STACK;
	return is_main ? MAX_STACK : MAX_THREAD_STACK;
}

static int look_at_image_stacks(struct finder *f, const struct image *i, struct error *err)
{
	int r = 0;

	for (size_t k = 0; k < image_n_threads(i) && r == 0; k++) {
		const uint64_t sp = image_thread(i, k)->sp;
		const struct image_segment *s = image_find(i, sp);
		uint64_t left = most_of_stack(i, k, s);

		if (s)
			r = scan(f, sp / 4096 * 4096, s->end, look_pointers, &left, err);
	}
	return r;
}

/* Data of files, and the .bss behind it. */
static int look_at_image_data(struct finder *f, struct error *err)
{
	uint64_t left = MAX_DATA;
	int r = 0;

	for (size_t i = 0; i < f->maps->n_items && r == 0; i++) {
		const struct mapping *m = &f->maps->items[i], *before = i ? m - 1 : NULL;
		const bool is_bss = before && before->inode && before->end == m->start && !m->inode;

		if ((m->prot & MAPS_WRITE) && (m->inode || is_bss))
			r = scan(f, m->start, m->end, look_pointers, &left, err);
	}
	return r;
}

static bool has_module(const struct maps *m, const char *part)
{
	for (size_t i = 0; i < m->n_items; i++) {
		const char *base = m->items[i].inode ? strrchr(m->items[i].name, '/') : NULL;

		if (base && strstr(base, part))
			return true;
	}
	return false;
}

/* "Lua 5.4", by what lapi.c has in every program that contains it; "" else. */
static void version_text(struct elf_file *elf, char *buf, size_t size)
{
	static const char *const idents[] = { "$LuaVersion: Lua 5.", "$Lua: Lua 5." };
	cleanup_free void *bytes = NULL;
	struct elf_section s;
	struct error unused;
	size_t len;

	if (elf_file_section(elf, ".rodata", &s) &&
	    elf_file_section_data(elf, &s, RODATA_MAX, &bytes, &len, &unused) < 0)
		return;
	for (size_t i = 0; bytes && i < ARRAY_SIZE(idents); i++) {
		const size_t n = strlen(idents[i]);
		const char *at = memmem(bytes, len, idents[i], n);

		if (at && (size_t)(at - (const char *)bytes) + n < len) {
			snprintf(buf, size, "Lua 5.%c", at[n]);
			return;
		}
	}
}

/* What is there instead of a state that is known. */
static void find_other(const struct maps *maps, struct elf_file *exe, char *other, size_t size)
{
	static const char *const jit[] = { "LuaJIT 2." };

	if (has_module(maps, "luajit") || (exe && has_text(exe, jit, ARRAY_SIZE(jit)))) {
		snprintf(other, size, "LuaJIT");
		return;
	}
	if (exe)
		version_text(exe, other, size);
	for (char minor = '1'; !other[0] && minor <= '9'; minor++) {
		char name[16];

		snprintf(name, sizeof(name), "liblua5.%c", minor);
		if (has_module(maps, name))
			snprintf(other, size, "Lua 5.%c", minor);
	}
}

int lua_find_image(struct image *i, struct peek *p, bool everywhere, struct lua_find *ret,
                   char *other, size_t size, struct error *err)
{
	cleanup(clear_items) struct maps maps = { 0 };
	struct finder f = { .peek = p, .maps = &maps, .to = ret, .doubts = true };
	struct elf_file *exe;
	struct error unused;
	uint64_t bias;
	int r = maps_of(i, &maps, err);

	if (r == 0)
		r = look_at_image_stacks(&f, i, err);
	if (r == 0)
		r = look_at_image_data(&f, err);
	exe = r == 0 ? image_exe(i, &bias, &unused) : NULL;
	if (r == 0 &&
	    (ret->n_items || everywhere || has_module(&maps, "lua") || (exe && has_ident(exe))))
		r = look_everywhere(&f, err);
	if (r == 0 && !ret->n_items)
		find_other(&maps, exe, other, size);
	return r;
}
