/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/postgres/postgres.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "base/log.h"
#include "runtime/postgres/pg_plan.h"
#include "runtime/postgres/pg_pools.h"
#include "runtime/postgres/pg_process.h"
#include "runtime/postgres/pg_ranges.h"
#include "runtime/postgres/pg_regions.h"
#include "runtime/postgres/pg_server.h"

enum {
	CHECKED_CHUNKS = 20000, /* sample before an attach: a few ms */
	TITLE_BYTES = 256,
};

static int detect(const struct runtime_view *v, struct error *err)
{
	uint64_t bias;

	return pg_server_module(v, &bias) != NULL;
}

/* 0 also when the class has no such method. */
static int add_method(const struct pg_server *s, const struct pg_functions *functions,
                      enum pg_class c, enum pg_method m, struct runtime_probes *to,
                      struct error *err)
{
	char text[PG_PLAN_TEXT_BYTES], name[RUNTIME_PROBE_NAME_BYTES];
	struct runtime_function f = { .name = name,
		                      .role = pg_plan_role(m),
		                      .flags = PLAN_JUMPS,
		                      .asked = pg_plan_asked(&s->layout, m),
		                      .group = c + 1, /* a class without its free is none */
		                      .text = text };
	uint64_t vaddr = s->methods.tables[c].method[m];
	int r;

	if (!pg_plan_wanted(&s->methods, c, m))
		return 0;
	snprintf(name, sizeof(name), "%s%s", pg_methods_class_name(c), pg_methods_method_name(m));
	r = pg_plan_text(&s->layout, c, m, text, err);
	if (r < 0)
		return r;
	r = runtime_add_probe(to, &postgres_runtime, s->module, vaddr,
	                      pg_ranges_function_size(s->elf, functions, vaddr), &f, err);
	/* folded into another method by the linker: one of the two would be missed,
	 * but for a delete that is a jump to reset */
	if (r == 0 && pg_plan_role(m) != PLAN_RESET)
		return runtime_add_gap(to, name, "shares its code with another method", err);
	return r < 0 ? error_context(err, "method table of %s", pg_methods_class_name(c)) : 0;
}

static int add_class(const struct pg_server *s, const struct pg_functions *functions,
                     enum pg_class c, struct runtime_probes *to, struct error *err)
{
	cleanup(pg_ranges_clear) struct pg_ranges ranges = { 0 };
	int r = pg_ranges_add(s->elf, functions, &s->methods, c, &ranges, err);

	for (unsigned m = 0; m < PG_N_METHODS && r == 0; m++)
		r = add_method(s, functions, c, m, to, err);
	for (size_t i = 0; i < ranges.n && r == 0; i++)
		r = runtime_add_range(to, &postgres_runtime, s->module, ranges.items[i].vaddr,
		                      ranges.items[i].size, 0, err);
	return r;
}

static int alloc_probes(const struct runtime_view *v, struct runtime_probes *to, struct error *err)
{
	cleanup(pg_server_clear) struct pg_server s = { 0 };
	cleanup(pg_tree_clear) struct pg_tree tree = { 0 };
	cleanup(pg_code_functions_clear) struct pg_functions functions = { 0 };
	struct pg_check check = { 0 };
	int r = pg_server_open(v, &s, err);

	if (r == 0)
		r = pg_server_look(&s, &tree, &check, CHECKED_CHUNKS, err);
	if (r == 0)
		r = pg_code_functions(s.elf, &functions, err);
	if (r < 0)
		return r;
	log_note(LOG_DEBUG, "PostgreSQL: %zu contexts, %llu chunk headers checked", tree.n,
	         (unsigned long long)check.chunks);
	for (unsigned c = 0; c < PG_N_CLASSES && r == 0; c++)
		r = add_class(&s, &functions, c, to, err);
	if (r == 0 && s.methods.unknown_alloc)
		r = runtime_add_gap(to, "a class of contexts without an exported name",
		                    "not known here", err);
	return r;
}

static void fill_context(const struct pg_tree *tree, const struct pg_context *found,
                         struct runtime_context *to)
{
	pg_tree_path(tree, found, to->path, sizeof(to->path));
	snprintf(to->ident, sizeof(to->ident), "%s", pg_tree_ident(tree, found));
	snprintf(to->class_name, sizeof(to->class_name), "%s", pg_methods_class_name(found->class));
	to->used_bytes = found->used;
}

static int name_contexts(const struct runtime_view *v, struct runtime_context *contexts, size_t n,
                         struct error *err)
{
	cleanup(pg_server_clear) struct pg_server s = { 0 };
	cleanup(pg_tree_clear) struct pg_tree tree = { 0 };
	cleanup(hash_map_clear) struct hash_map index = { 0 };
	int r = pg_server_open(v, &s, err);

	if (r == 0)
		r = pg_server_look(&s, &tree, NULL, 0, err);
	for (size_t i = 0; i < tree.n && r == 0; i++)
		r = hash_map_put(&index, tree.items[i].address, i, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		const uint64_t *found = hash_map_get(&index, contexts[i].address);

		if (found)
			fill_context(&tree, &tree.items[*found], &contexts[i]);
	}
	return 0;
}

static bool process_kind(const struct runtime_view *v, char *buf, size_t size)
{
	char title[TITLE_BYTES];
	uint64_t bias;

	if (!pg_server_module(v, &bias))
		return false;
	target_cmdline(v->target, title, sizeof(title));
	if (!pg_process_kind(title, buf, size))
		snprintf(buf, size, "postmaster"); /* has its arguments instead of a title */
	return true;
}

static int used_bytes(const struct runtime_view *v, uint64_t *ret, struct error *err)
{
	cleanup(pg_server_clear) struct pg_server s = { 0 };
	cleanup(pg_tree_clear) struct pg_tree tree = { 0 };
	int r = pg_server_open(v, &s, err);

	if (r == 0)
		r = pg_server_look(&s, &tree, NULL, 0, err);
	if (r < 0)
		return r;
	*ret = tree.chunk_bytes;
	return 0;
}

const struct runtime_ops postgres_runtime = {
	.name = "postgres",
	.title = "PostgreSQL memory contexts",
	.has_contexts = true,
	.detect = detect,
	.alloc_probes = alloc_probes,
	.name_contexts = name_contexts,
	.process_kind = process_kind,
	.used_bytes = used_bytes,
	.label_regions = pg_regions_label,
	.pools = pg_pools_read,
};
