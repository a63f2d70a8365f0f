/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/code_graph.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/search.h"
#include "runtime/code.h"

enum {
	MAX_FUNCTIONS = 4 << 20,
	/* .eh_frame_hdr, Linux Standard Base, "Exception Frame Header": a version, three encodings,
	 * two words of 4 bytes, then pairs of 4 bytes each. What all linkers write. */
	HEADER_BYTES = 12,
	PAIR_BYTES = 8,
	ENC_UDATA4 = 0x03,
	ENC_DATAREL_SDATA4 = 0x3b,
};

void code_graph_clear(struct code_graph *g)
{
	free(g->functions);
	free(g->calls);
	free(g->refs);
	*g = (struct code_graph){ 0 };
}

static int no_table(const struct elf_file *f, struct error *err)
{
	return error_set(err, ENOEXEC, "%s: no table of its functions for unwinding",
	                 elf_file_name(f));
}

/* ---- where functions begin ---- */

static int32_t word32(const uint8_t *at)
{
	int32_t v;

	memcpy(&v, at, sizeof(v));
	return v;
}

/* Where the function ends that the entry of .eh_frame at @vaddr is of: length, CIE, start relative
 * to its own place, bytes; 4 each, as compilers write them for code below 2 GiB. 0: otherwise. */
static uint64_t entry_end(struct elf_file *f, uint64_t vaddr, uint64_t start)
{
	uint8_t bytes[16];
	struct error ignored;

	if (elf_file_read_vaddr(f, vaddr, bytes, sizeof(bytes), &ignored) < 0 ||
	    vaddr + 8 + (uint64_t)(int64_t)word32(bytes + 8) != start)
		return 0;
	return start + (uint32_t)word32(bytes + 12);
}

static int by_start(const void *a, const void *b)
{
	const struct code_graph_function *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

static int parse_table(struct elf_file *f, const uint8_t *bytes, const struct elf_segment *s,
                       struct code_graph *g, struct error *err)
{
	const size_t n = s->filesz >= HEADER_BYTES ? (uint32_t)word32(bytes + 8) : 0;

	if (!n || n > MAX_FUNCTIONS || bytes[0] != 1 || bytes[2] != ENC_UDATA4 ||
	    bytes[3] != ENC_DATAREL_SDATA4 || n > (s->filesz - HEADER_BYTES) / PAIR_BYTES)
		return no_table(f, err);
	g->functions = calloc(n + 1, sizeof(*g->functions));
	if (!g->functions)
		return error_oom(err);
	for (size_t i = 0; i < n; i++) {
		const int64_t at = word32(bytes + HEADER_BYTES + i * PAIR_BYTES);
		const int64_t entry = word32(bytes + HEADER_BYTES + i * PAIR_BYTES + 4);
		const uint64_t start = s->vaddr + (uint64_t)at;

		if (!code_is_executable(f, start))
			continue;
		g->functions[g->n++] = (struct code_graph_function){
			.start = start, .end = entry_end(f, s->vaddr + (uint64_t)entry, start)
		};
	}
	qsort(g->functions, g->n, sizeof(*g->functions), by_start);
	return g->n ? 0 : no_table(f, err);
}

static int read_table(struct elf_file *f, struct code_graph *g, struct error *err)
{
	for (size_t i = 0; i < elf_file_n_segments(f); i++) {
		const struct elf_segment s = elf_file_segment(f, i);
		cleanup_free uint8_t *bytes = NULL;
		int r;

		if (s.type != PT_GNU_EH_FRAME || s.filesz > CODE_GRAPH_MAX_BYTES || !s.filesz)
			continue;
		bytes = malloc(s.filesz);
		if (!bytes)
			return error_oom(err);
		r = elf_file_read_vaddr(f, s.vaddr, bytes, s.filesz, err);
		return r < 0 ? r : parse_table(f, bytes, &s, g, err);
	}
	return no_table(f, err);
}

/* Of the segment with code that holds @vaddr; 0: none. */
static uint64_t segment_end(const struct elf_file *f, uint64_t vaddr)
{
	for (size_t i = 0; i < elf_file_n_segments(f); i++) {
		const struct elf_segment s = elf_file_segment(f, i);

		if (s.type == PT_LOAD && s.flags & PF_X && vaddr >= s.vaddr &&
		    vaddr - s.vaddr < s.filesz)
			return s.vaddr + s.filesz;
	}
	return 0;
}

static int set_ends(struct elf_file *f, struct code_graph *g, struct error *err)
{
	uint64_t bytes = 0;
	size_t n = 0;

	for (size_t i = 0; i < g->n; i++) {
		struct code_graph_function c = g->functions[i];
		uint64_t most = segment_end(f, c.start);

		if (i + 1 < g->n && g->functions[i + 1].start == c.start)
			continue;
		if (i + 1 < g->n && g->functions[i + 1].start < most)
			most = g->functions[i + 1].start;
		if (c.end <= c.start || c.end > most)
			c.end = most;
		bytes += c.end - c.start;
		g->functions[n++] = c;
	}
	g->n = n;
	return bytes <= CODE_GRAPH_MAX_BYTES
	               ? 0
	               : error_set(err, EFBIG, "%s: %llu bytes of code", elf_file_name(f),
	                           (unsigned long long)bytes);
}

size_t code_graph_find(const struct code_graph *g, uint64_t vaddr)
{
	size_t at = partition_point(g->n, i, g->functions[i].end <= vaddr);

	return at < g->n && g->functions[at].start <= vaddr ? at : g->n;
}

size_t code_graph_at(const struct code_graph *g, uint64_t vaddr)
{
	size_t at = code_graph_find(g, vaddr);

	return at < g->n && g->functions[at].start == vaddr ? at : g->n;
}

/* ---- what they do ---- */

static bool is_data(const struct elf_file *f, uint64_t vaddr)
{
	for (size_t i = 0; i < elf_file_n_segments(f); i++) {
		const struct elf_segment s = elf_file_segment(f, i);

		if (s.type == PT_LOAD && !(s.flags & PF_X) && vaddr >= s.vaddr &&
		    vaddr - s.vaddr < s.memsz)
			return true;
	}
	return false;
}

static bool is_in_segment(const struct elf_segment *s, uint64_t vaddr)
{
	return vaddr >= s->vaddr && vaddr - s->vaddr < s->memsz;
}

bool code_graph_is_variable(const struct elf_file *f, uint64_t vaddr)
{
	bool is = false;

	for (size_t i = 0; i < elf_file_n_segments(f); i++) {
		const struct elf_segment s = elf_file_segment(f, i);

		if (!is_in_segment(&s, vaddr))
			continue;
		if (s.type == PT_GNU_RELRO)
			return false;
		is |= s.type == PT_LOAD && s.flags & PF_W;
	}
	return is;
}

/* Addresses that @in names. In code that may be anywhere, only those relative to the pc:
 * another number is a number. */
static void names_of(const struct elf_file *f, const struct code_insn *in, const uint8_t *bytes,
                     uint64_t vaddr, uint64_t ret[2])
{
	ret[0] = ret[1] = 0;
	if (in->disp_at)
		ret[0] = vaddr + in->length + (uint64_t)(int64_t)word32(bytes + in->disp_at);
	else if (!elf_file_is_pie(f))
		memcpy(ret, in->names, sizeof(in->names));
}

static int read_bytes(struct elf_file *f, const struct code_graph_function *c, uint8_t **ret,
                      struct error *err)
{
	const size_t len = c->end - c->start;
	cleanup_free uint8_t *bytes = malloc(len + 1);
	int r = bytes ? elf_file_read_vaddr(f, c->start, bytes, len, err) : error_oom(err);

	if (r == 0)
		*ret = take_ptr(bytes);
	return r;
}

int code_graph_each(struct elf_file *f, const struct code_graph *g, size_t i,
                    int (*each)(const struct code_insn *in, const uint64_t names[2], void *arg),
                    void *arg, struct error *err)
{
	const struct code_graph_function *c = &g->functions[i];
	const size_t len = c->end - c->start;
	cleanup_free uint8_t *bytes = NULL;
	int r = read_bytes(f, c, &bytes, err);

	for (size_t at = 0; r == 0 && at < len;) {
		struct code_insn in;
		uint64_t names[2];

		if (!code_decode(bytes + at, len - at, c->start + at, &in)) {
			at++; /* bytes between functions are not always code */
			continue;
		}
		names_of(f, &in, bytes + at, c->start + at, names);
		r = each(&in, names, arg);
		at += in.length;
	}
	return r;
}

struct reading {
	struct elf_file *f;
	struct code_graph *g;
	size_t at; /* the function */
	struct error *err;
};

static int add_call(struct reading *to, uint64_t target, bool whole)
{
	struct code_graph *g = to->g;
	const size_t there = whole ? code_graph_at(g, target) : code_graph_find(g, target);
	int r;

	if (there == g->n || there == to->at)
		return 0;
	r = array_reserve(&g->calls, &g->cap_calls, g->n_calls + 1, to->err);
	if (r == 0)
		g->calls[g->n_calls++] = (uint32_t)there;
	return r;
}

static int add_ref(struct reading *to, uint64_t addr)
{
	struct code_graph *g = to->g;
	int r = array_reserve(&g->refs, &g->cap_refs, g->n_refs + 1, to->err);

	if (r == 0)
		g->refs[g->n_refs++] = (struct code_graph_ref){ addr, (uint32_t)to->at };
	return r;
}

static int take(const struct code_insn *in, const uint64_t names[2], void *arg)
{
	struct reading *to = arg;
	int r = in->direct ? add_call(to, in->target, false) : 0;

	for (unsigned i = 0; r == 0 && i < 2; i++) {
		if (!names[i])
			continue;
		r = is_data(to->f, names[i]) ? add_ref(to, names[i]) : add_call(to, names[i], true);
	}
	return r;
}

int code_graph_functions(struct elf_file *f, struct code_graph *ret, struct error *err)
{
	cleanup(code_graph_clear) struct code_graph g = { 0 };
	int r = elf_file_machine(f) == EM_X86_64 ? read_table(f, &g, err) : no_table(f, err);

	if (r == 0)
		r = set_ends(f, &g, err);
	if (r < 0)
		return r;
	*ret = g;
	g = (struct code_graph){ 0 };
	return 0;
}

int code_graph_read(struct elf_file *f, struct code_graph *ret, struct error *err)
{
	cleanup(code_graph_clear) struct code_graph g = { 0 };
	struct reading to = { f, &g, 0, err };
	int r = code_graph_functions(f, &g, err);

	for (; r == 0 && to.at < g.n; to.at++) {
		g.functions[to.at].calls = (uint32_t)g.n_calls;
		g.functions[to.at].refs = (uint32_t)g.n_refs;
		r = code_graph_each(f, &g, to.at, take, &to, err);
	}
	if (r < 0)
		return r;
	g.functions[g.n].calls = (uint32_t)g.n_calls;
	g.functions[g.n].refs = (uint32_t)g.n_refs;
	*ret = g;
	g = (struct code_graph){ 0 };
	return 0;
}
