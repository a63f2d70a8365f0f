/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "unwind/stack_frames.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "target/elf_file.h"

enum { MAX_INLINED = 64 };

void stack_frames_clear(struct stack_frames *f)
{
	hash_map_clear(&f->by_address);
	hash_map_clear(&f->modules);
	free(f->spans);
	free(f->ids);
	*f = (struct stack_frames){ 0 };
}

/* Record the module once, with its build-id for whoever symbolises elsewhere. */
static int module_path(struct stack_frames *f, struct symbol_module *m, u32 *ret, struct error *err)
{
	uint64_t *known = hash_map_get(&f->modules, (uintptr_t)m);
	char hex[2 * ELF_FILE_BUILD_ID_BYTES + 1] = "";
	const char *path = symbol_module_path(m);
	u32 id, build_id;
	int r;

	if (known) {
		*ret = *known;
		return 0;
	}
	if (symbol_module_elf(m))
		elf_file_build_id_hex(symbol_module_elf(m), hex);
	r = profile_string(f->profile, path, strlen(path), &id, err);
	if (r == 0)
		r = profile_string(f->profile, hex, strlen(hex), &build_id, err);
	if (r == 0)
		r = profile_module_set(f->profile, id, build_id, err);
	if (r == 0)
		r = hash_map_put(&f->modules, (uintptr_t)m, id, err);
	if (r == 0)
		*ret = id;
	return r;
}

static int text_id(struct stack_frames *f, const char *s, u32 *ret, struct error *err)
{
	*ret = 0;
	return s ? profile_string(f->profile, s, strlen(s), ret, err) : 0;
}

static int add_frame(struct stack_frames *f, const struct symbol_frame *s, u32 module, u64 offset,
                     struct error *err)
{
	struct profile_frame frame = { .module = module,
		                       .offset = offset,
		                       .line = s->line,
		                       .inlined = s->inlined,
		                       .start = s->start,
		                       .size = s->size };
	int r = text_id(f, s->name, &frame.name, err);

	if (r == 0)
		r = text_id(f, s->file, &frame.file, err);
	if (r == 0)
		r = array_reserve(&f->ids, &f->cap_ids, f->n_ids + 1, err);
	if (r == 0)
		r = profile_frame(f->profile, &frame, &f->ids[f->n_ids], err);
	if (r == 0)
		f->n_ids++;
	return r;
}

/* Frames of one address: the inlined functions and the one that holds them. */
static int look_up(struct stack_frames *f, const struct code_history *h, u64 pc,
                   struct stack_frames_span *ret, struct error *err)
{
	struct symbol_frame names[MAX_INLINED];
	struct symbol_module *module = NULL;
	u64 address = pc & STACK_PC_ADDRESS, vaddr = 0;
	u64 at = pc & STACK_PC_EXACT || !address ? address : address - 1;
	u32 path = 0;
	size_t n = symbol_space_frames_of(h->space, code_history_mapping(h, pc, at), at, names,
	                                  MAX_INLINED, &module, &vaddr);
	int r = module ? module_path(f, module, &path, err) : 0;

	ret->first = f->n_ids;
	for (size_t i = 0; r == 0 && i < n; i++)
		r = add_frame(f, &names[i], path, module ? vaddr : address, err);
	ret->n = f->n_ids - ret->first;
	return r;
}

static int of_address(struct stack_frames *f, const struct code_history *h, u32 slot, u64 pc,
                      struct stack_frames_span *ret, struct error *err)
{
	u64 key = hash_u64(pc) ^ (u64)slot << 48 ^ slot;
	uint64_t *known = hash_map_get(&f->by_address, key);
	int r;

	if (known) {
		*ret = f->spans[*known];
		return 0;
	}
	r = array_reserve(&f->spans, &f->cap_spans, f->n_spans + 1, err);
	if (r == 0)
		r = look_up(f, h, pc, &f->spans[f->n_spans], err);
	if (r == 0)
		r = hash_map_put(&f->by_address, key, f->n_spans, err);
	if (r == 0)
		*ret = f->spans[f->n_spans++];
	return r;
}

static int mark(struct stack_frames *f, const char *text, u32 *ids, int n, struct error *err)
{
	int r = profile_frame_named(f->profile, text, &ids[n], err);

	return r < 0 ? r : n + 1;
}

static const char *why_cut(const struct stack_record *s)
{
	switch (s->stop) {
	case UNWIND_STOP_DEEP: return "[deeper than 512 frames]";
	case UNWIND_STOP_BAD_STACK: return "[stack unreadable from here]";
	case UNWIND_STOP_TRAMPOLINE: return "[behind another tool's return probe]";
	default: return "[no unwind table from here]";
	}
}

int stack_frames_of_pcs(struct stack_frames *f, const struct code_history *h, u32 slot,
                        const u64 *pcs, size_t n_pcs, const char *cut, u32 *ids, struct error *err)
{
	int n = 0;

	for (size_t i = 0; i < n_pcs; i++) {
		struct stack_frames_span span = { 0 };
		int r = of_address(f, h, slot, pcs[i], &span, err);

		if (r < 0)
			return r;
		for (u32 k = 0; k < span.n && n < PROFILE_MAX_FRAMES - 1; k++)
			ids[n++] = f->ids[span.first + k];
	}
	return cut ? mark(f, cut, ids, n, err) : n;
}

int stack_frames_of(struct stack_frames *f, const struct code_history *h, u32 slot, u32 stack,
                    u32 *ids, struct error *err)
{
	const struct stack_record *s = bpf_tables_stack(f->tables, stack);

	if (!s)
		return mark(f, f->no_stack, ids, 0, err);
	return stack_frames_of_pcs(f, h, slot, bpf_tables_pcs(f->tables, s), s->n,
	                           stack_frames_is_complete(h, f->tables, s) ? NULL : why_cut(s),
	                           ids, err);
}

/* Code without unwind rows that nothing can have called: the program's entry,
 * and musl's thread start. */
static bool is_start(const struct code_history *h, u64 pc)
{
	u64 address = pc & STACK_PC_ADDRESS;
	const struct symbol_mapping *m = code_history_mapping(h, pc, address - 1);
	struct elf_file *elf = m && m->module ? symbol_module_elf(m->module) : NULL;
	struct symbol_frame name = { 0 };
	u64 vaddr = m ? address - m->bias - 1 : 0, entry;

	if (!elf)
		return false;
	entry = elf_file_entry(elf);
	if (vaddr >= entry && vaddr < entry + 64)
		return true;
	symbol_module_frames(m->module, vaddr, &name, 1);
	return name.name && (!strcmp(name.name, "_start") || !strcmp(name.name, "_start_c") ||
	                     !strcmp(name.name, "__clone") || !strcmp(name.name, "clone") ||
	                     !strcmp(name.name, "clone3"));
}

bool stack_frames_are_complete(const struct code_history *h, const u64 *pcs, size_t n, u32 stop)
{
	if (stop == UNWIND_STOP_END)
		return true;
	return stop == UNWIND_STOP_NO_TABLE && n && is_start(h, pcs[n - 1]);
}

bool stack_frames_is_complete(const struct code_history *h, const struct bpf_tables *t,
                              const struct stack_record *s)
{
	return stack_frames_are_complete(h, bpf_tables_pcs(t, s), s->n, s->stop);
}
