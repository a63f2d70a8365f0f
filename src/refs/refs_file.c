/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "refs/refs_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

#define MAGIC "memwho-graph"
enum { VERSION = 4, ALIGN = 8, N_PARTS = 17 };

/* All numbers little-endian, as on the machines memwho runs on. */
struct header {
	char magic[12];
	uint32_t version;
	uint64_t n_nodes, n_edges, n_roots, n_root_edges, n_sizes, n_labels, n_far_sizes,
		n_far_labels, n_births, n_birth_stacks, n_birth_frames, n_chars, n_texts;
	uint64_t own_live_bytes, own_live_objects, garbage_bytes, garbage_objects, birth_rate;
	uint64_t flags; /* 1: partial, 2: scattered */
	char runtime[64];
};

/* The arrays in the order of the file. */
struct part {
	const void *items;
	uint64_t n;
	size_t each;
};

static void parts_of(const struct object_graph *g, struct part parts[N_PARTS])
{
	const struct part all[N_PARTS] = {
		{ g->address, g->n_nodes, sizeof(*g->address) },
		{ g->size_code, g->n_nodes, sizeof(*g->size_code) },
		{ g->type, g->n_nodes, sizeof(*g->type) },
		{ g->first_edge, g->n_nodes + 1, sizeof(*g->first_edge) },
		{ g->to, g->n_edges, sizeof(*g->to) },
		{ g->label_code, g->n_edges, sizeof(*g->label_code) },
		{ g->roots, g->n_roots, sizeof(*g->roots) },
		{ g->root_edges, g->n_root_edges, sizeof(*g->root_edges) },
		{ g->sizes, g->n_sizes, sizeof(*g->sizes) },
		{ g->labels, g->n_labels, sizeof(*g->labels) },
		{ g->far_sizes, g->n_far_sizes, sizeof(*g->far_sizes) },
		{ g->far_labels, g->n_far_labels, sizeof(*g->far_labels) },
		{ g->births, g->n_births, sizeof(*g->births) },
		{ g->birth_stacks, g->n_birth_stacks, sizeof(*g->birth_stacks) },
		{ g->birth_frames, g->n_birth_frames, sizeof(*g->birth_frames) },
		{ g->texts, g->n_texts, sizeof(*g->texts) },
		{ g->chars, g->n_chars, 1 },
	};

	memcpy(parts, all, sizeof(all));
}

static uint64_t padded(uint64_t bytes)
{
	return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

/* ---- writing ---- */

static int write_all(const struct object_graph *g, FILE *to)
{
	struct header h = {
		.version = VERSION,
		.n_nodes = g->n_nodes,
		.n_edges = g->n_edges,
		.n_roots = g->n_roots,
		.n_root_edges = g->n_root_edges,
		.n_sizes = g->n_sizes,
		.n_labels = g->n_labels,
		.n_far_sizes = g->n_far_sizes,
		.n_far_labels = g->n_far_labels,
		.n_births = g->n_births,
		.n_birth_stacks = g->n_birth_stacks,
		.n_birth_frames = g->n_birth_frames,
		.n_chars = g->n_chars,
		.n_texts = g->n_texts,
		.own_live_bytes = g->own_live_bytes,
		.own_live_objects = g->own_live_objects,
		.garbage_bytes = g->garbage_bytes,
		.garbage_objects = g->garbage_objects,
		.birth_rate = g->birth_rate,
		.flags = (g->partial ? 1u : 0) | (g->is_scattered ? 2u : 0),
	};
	static const char zeros[ALIGN];
	struct part parts[N_PARTS];

	memcpy(h.magic, MAGIC, sizeof(h.magic));
	memcpy(h.runtime, g->runtime, sizeof(h.runtime));
	parts_of(g, parts);
	if (fwrite(&h, sizeof(h), 1, to) != 1)
		return -1;
	for (size_t i = 0; i < N_PARTS; i++) {
		uint64_t bytes = parts[i].n * parts[i].each;

		if (bytes && fwrite(parts[i].items, bytes, 1, to) != 1)
			return -1;
		if (padded(bytes) > bytes && fwrite(zeros, padded(bytes) - bytes, 1, to) != 1)
			return -1;
	}
	return fflush(to);
}

uint64_t refs_file_bytes(const struct object_graph *g)
{
	struct part parts[N_PARTS];
	uint64_t bytes = sizeof(struct header);

	parts_of(g, parts);
	for (size_t i = 0; i < N_PARTS; i++)
		bytes += padded(parts[i].n * parts[i].each);
	return bytes;
}

/* A pipe or a device is written to, not replaced. */
static int save_to_special(const struct object_graph *g, const char *path, struct error *err)
{
	cleanup_fclose FILE *to = fopen(path, "we");

	if (!to || write_all(g, to))
		return error_sys(err, errno, "%s", path);
	return 0;
}

int refs_file_save(const struct object_graph *g, const char *path, struct error *err)
{
	cleanup_free char *temporary = NULL;
	cleanup_fclose FILE *to = NULL;
	struct stat st;
	int fd, e = 0;

	if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
		return save_to_special(g, path, err);
	if (asprintf(&temporary, "%s.XXXXXX", path) < 0)
		return error_oom(err);
	fd = mkostemp(temporary, O_CLOEXEC);
	to = fd < 0 ? NULL : fdopen(fd, "w");
	if (!to) {
		e = errno;
		if (fd >= 0)
			close(fd);
		return error_sys(err, e, "%s", path);
	}
	if (fchmod(fd, 0644) < 0 || write_all(g, to) || rename(temporary, path) < 0) {
		e = errno;
		unlink(temporary);
		return error_sys(err, e, "%s", path);
	}
	return 0;
}

/* ---- reading ---- */

bool refs_file_is(const char *path)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char magic[sizeof(MAGIC) - 1];

	return fd >= 0 && read(fd, magic, sizeof(magic)) == (ssize_t)sizeof(magic) &&
	       memcmp(magic, MAGIC, sizeof(magic)) == 0;
}

static int damaged(const char *path, const char *what, struct error *err)
{
	return error_set(err, EBADMSG, "%s: damaged (%s)", path, what);
}

static int map_file(const char *path, struct object_graph *g, struct error *err)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *p;

	if (fd < 0 || fstat(fd, &st) < 0)
		return error_sys(err, errno, "%s", path);
	if (refs_file_is(path) && (uint64_t)st.st_size < sizeof(struct header))
		return damaged(path, "cut short", err);
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size < sizeof(struct header))
		return error_set(err, EBADMSG, "%s is not a saved graph", path);
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		return error_sys(err, errno, "%s", path);
	g->mapped = p;
	g->mapped_bytes = (size_t)st.st_size;
	return 0;
}

static int place(const char *path, struct object_graph *g, const struct header *h,
                 struct error *err)
{
	void **const arrays[N_PARTS] = {
		(void **)&g->address,    (void **)&g->size_code,    (void **)&g->type,
		(void **)&g->first_edge, (void **)&g->to,           (void **)&g->label_code,
		(void **)&g->roots,      (void **)&g->root_edges,   (void **)&g->sizes,
		(void **)&g->labels,     (void **)&g->far_sizes,    (void **)&g->far_labels,
		(void **)&g->births,     (void **)&g->birth_stacks, (void **)&g->birth_frames,
		(void **)&g->texts,      (void **)&g->chars,
	};
	uint64_t at = sizeof(*h);
	struct part parts[N_PARTS];

	g->n_nodes = h->n_nodes;
	g->n_edges = h->n_edges;
	g->n_roots = h->n_roots;
	g->n_root_edges = h->n_root_edges;
	g->n_sizes = h->n_sizes;
	g->n_labels = h->n_labels;
	g->n_far_sizes = h->n_far_sizes;
	g->n_far_labels = h->n_far_labels;
	g->n_births = h->n_births;
	g->n_birth_stacks = h->n_birth_stacks;
	g->n_birth_frames = h->n_birth_frames;
	g->n_chars = h->n_chars;
	g->n_texts = h->n_texts;
	parts_of(g, parts);
	for (size_t i = 0; i < N_PARTS; i++) {
		uint64_t left = g->mapped_bytes - at;

		if (parts[i].n > UINT32_MAX || parts[i].n * parts[i].each > left)
			return damaged(path, "cut short", err);
		*arrays[i] = (char *)g->mapped + at;
		at += padded(parts[i].n * parts[i].each);
		if (at > g->mapped_bytes)
			return damaged(path, "cut short", err);
	}
	return 0;
}

static bool is_text(const struct object_graph *g, uint32_t id)
{
	return id < g->n_texts;
}

static int check_texts(const char *path, const struct object_graph *g, struct error *err)
{
	if (!g->n_texts || !g->n_chars || g->chars[g->n_chars - 1])
		return damaged(path, "names", err);
	for (size_t i = 0; i < g->n_texts; i++) {
		if (g->texts[i] >= g->n_chars)
			return damaged(path, "a name", err);
	}
	return 0;
}

static int check_edges(const char *path, const struct object_graph *g, struct error *err)
{
	if (g->first_edge[0] != 0 || g->first_edge[g->n_nodes] != g->n_edges)
		return damaged(path, "references", err);
	for (size_t i = 0; i < g->n_nodes; i++) {
		if (g->first_edge[i] > g->first_edge[i + 1] || !is_text(g, g->type[i] >> 2) ||
		    (g->size_code[i] >= g->n_sizes && g->size_code[i] != OBJECT_FAR))
			return damaged(path, "an object", err);
	}
	for (size_t i = 0; i < g->n_edges; i++) {
		if (g->to[i] >= g->n_nodes ||
		    (g->label_code[i] >= g->n_labels && g->label_code[i] != OBJECT_FAR))
			return damaged(path, "a reference", err);
	}
	for (size_t i = 0; i < g->n_root_edges; i++) {
		if (g->root_edges[i].to >= g->n_nodes || !is_text(g, g->root_edges[i].label))
			return damaged(path, "a root's reference", err);
	}
	return 0;
}

static int check_roots(const char *path, const struct object_graph *g, struct error *err)
{
	for (size_t i = 0; i < g->n_roots; i++) {
		const struct object_root *r = &g->roots[i];

		if (!is_text(g, r->name) || !is_text(g, r->type) || !is_text(g, r->kind) ||
		    !is_text(g, r->created_by) || !is_text(g, r->state) ||
		    (unsigned)r->tier >= OBJECT_TIERS || r->first_edge > g->n_root_edges ||
		    r->n_edges > g->n_root_edges - r->first_edge)
			return damaged(path, "a root", err);
	}
	return 0;
}

static int check_numbers(const char *path, const struct object_graph *g, struct error *err)
{
	if (g->n_sizes > OBJECT_FAR || g->n_labels > OBJECT_FAR)
		return damaged(path, "numbers", err);
	for (size_t i = 0; i < g->n_labels; i++) {
		if (!is_text(g, g->labels[i]))
			return damaged(path, "a label", err);
	}
	for (size_t i = 0; i < g->n_far_labels; i++) {
		if (g->far_labels[i].value > UINT32_MAX ||
		    !is_text(g, (uint32_t)g->far_labels[i].value))
			return damaged(path, "a label", err);
	}
	return 0;
}

static int check_births(const char *path, const struct object_graph *g, struct error *err)
{
	for (size_t i = 0; i < g->n_births; i++) {
		const struct object_birth *b = &g->births[i];

		if (b->stack >= g->n_birth_stacks ||
		    (b->node != UINT32_MAX && b->node >= g->n_nodes))
			return damaged(path, "a birth", err);
	}
	for (size_t i = 0; i < g->n_birth_stacks; i++) {
		const struct object_birth_stack *s = &g->birth_stacks[i];

		if (s->first > g->n_birth_frames || s->n > g->n_birth_frames - s->first)
			return damaged(path, "a stack", err);
	}
	for (size_t i = 0; i < g->n_birth_frames; i++) {
		if (!is_text(g, g->birth_frames[i]))
			return damaged(path, "a function", err);
	}
	return 0;
}

int refs_file_load(const char *path, struct object_graph *ret, struct error *err)
{
	cleanup(object_graph_clear) struct object_graph g = { 0 };
	const struct header *h;
	int r = map_file(path, &g, err);

	if (r < 0)
		return r;
	h = g.mapped;
	if (memcmp(h->magic, MAGIC, sizeof(h->magic)) != 0)
		return error_set(err, EBADMSG, "%s is not a saved graph", path);
	if (h->version != VERSION)
		return error_set(err, EBADMSG, "%s: version %u of the format, known is %d", path,
		                 h->version, VERSION);
	r = place(path, &g, h, err);
	if (r == 0)
		r = check_texts(path, &g, err);
	if (r == 0)
		r = check_numbers(path, &g, err);
	if (r == 0)
		r = check_edges(path, &g, err);
	if (r == 0)
		r = check_roots(path, &g, err);
	if (r == 0)
		r = check_births(path, &g, err);
	if (r < 0)
		return r;
	g.own_live_bytes = h->own_live_bytes;
	g.own_live_objects = h->own_live_objects;
	g.garbage_bytes = h->garbage_bytes;
	g.garbage_objects = h->garbage_objects;
	g.birth_rate = h->birth_rate;
	g.partial = h->flags & 1;
	g.is_scattered = h->flags & 2;
	memcpy(g.runtime, h->runtime, sizeof(g.runtime) - 1);
	g.n_started = g.n_nodes + 1;
	*ret = g;
	g = (struct object_graph){ 0 };
	return 0;
}
