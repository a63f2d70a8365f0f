/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/agent_image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#if defined(__x86_64__)
#include "agent_blob.h"
#else
enum { AGENT_SLOW_AT = 0, AGENT_RETURN_AT = 0 };
static const unsigned char agent_blob[1];
#endif

void agent_image_clear(struct agent_image *i)
{
	free(i->patches);
	free(i->bytes);
	*i = (struct agent_image){ 0 };
}

static bool is_alloc(const struct runtime_probe *p)
{
	return p->code.role == PLAN_ALLOC;
}

static int check_whole(const struct agent_image *i, const struct error *why, struct error *err)
{
	bool allocates = false;

	for (size_t k = 0; k < i->n_patches; k++)
		allocates |= is_alloc(i->patches[k].probe);
	if (allocates)
		return 0;
	if (why->code) {
		*err = *why;
		return err->code;
	}
	return error_set(err, ENOTSUP, "no allocation function can be patched");
}

int agent_image_plan(struct tracee *t, struct agent_image *ret, struct error *err)
{
	const size_t n = t->probes.n_probes;
	struct error why = { 0 };
	uint64_t bias;
	int r = 0;

	ret->tracee = t;
	ret->patches = calloc(n + 1, sizeof(*ret->patches));
	if (!ret->patches)
		return error_oom(err);
	if (n > AGENT_MAX_FUNCTIONS)
		return error_set(err, ENOTSUP, "the allocator has too many functions");
	for (size_t i = 0; r == 0 && i < n; i++) {
		r = agent_patch_plan(t, i, &ret->patches[ret->n_patches], &why);
		ret->n_patches += r == 0;
		if (r == -ENOTSUP && is_alloc(&t->probes.probes[i]))
			r = runtime_add_gap(&t->probes, t->probes.probes[i].name, why.message, err);
		else if (r < 0)
			*err = why;
	}
	if (r == 0)
		r = check_whole(ret, &why, err);
	if (r == 0 && tracee_find_bias(t, ret->patches[0].probe->module, &bias))
		r = agent_patch_check_jumps(ret->patches, ret->n_patches, bias, err);
	return r < 0 ? error_hint(err, "--engine bpf patches nothing") : 0;
}

static struct agent_table *table_of(const struct agent_image *i)
{
	return (struct agent_table *)(void *)(i->bytes + AGENT_TABLE_AT);
}

const struct agent_table *agent_image_table(const struct agent_image *i)
{
	return table_of(i);
}

static int add_ranges(struct agent_image *i, struct error *err)
{
	cleanup_free struct alloc_range *ranges = NULL;
	struct agent_table *t = table_of(i);
	size_t n = 0;
	int r = tracee_internal_ranges(i->tracee, &ranges, &n, err);

	if (r < 0)
		return r;
	if (n > AGENT_MAX_RANGES)
		return error_set(err, ENOTSUP, "the allocator's code is in too many pieces");
	for (size_t k = 0; k < n; k++)
		t->ranges[k] = (struct agent_range){ ranges[k].start, ranges[k].end };
	t->n_ranges = n;
	return 0;
}

static int add_function(struct agent_image *i, unsigned k, uint64_t base, struct error *err)
{
	const struct agent_patch *p = &i->patches[k];
	struct agent_function *f = &table_of(i)->functions[k];
	uint64_t entry = 0;
	int64_t far;
	int32_t far32;
	int r = agent_stub_make(base, base + AGENT_SLOW_AT, k, &p->head, &p->fast,
	                        i->bytes + AGENT_STUBS_AT + k * AGENT_STUB_BYTES, &entry,
	                        (uint64_t *)&f->original);

	far = (int64_t)(entry - (p->at + AGENT_PATCH_BYTES));
	far32 = (int32_t)far;
	if (r < 0 || far != far32)
		return error_set(err, ENOTSUP, "%s cannot be patched: the agent is out of reach",
		                 p->probe->name);
	f->code = p->probe->code;
	f->patch_at = p->at;
	memcpy(f->was, p->was, AGENT_PATCH_BYTES);
	f->is[0] = 0xe9;
	memcpy(f->is + 1, &far32, sizeof(far32));
	return 0;
}

int agent_image_make(struct agent_image *i, uint64_t base, struct error *err)
{
	const uint64_t claim = AGENT_MAGIC;
	struct agent_table *t;
	int r;

	free(i->bytes);
	i->bytes = calloc(1, AGENT_CODE_BYTES);
	if (!i->bytes)
		return error_oom(err);
	memcpy(i->bytes, agent_blob, sizeof(agent_blob));
	memcpy(i->bytes + AGENT_CLAIM_AT, &claim, sizeof(claim));
	t = table_of(i);
	t->magic = AGENT_MAGIC;
	t->n_functions = i->n_patches;
	t->return_at = base + AGENT_RETURN_AT;
	r = add_ranges(i, err);
	for (unsigned k = 0; r == 0 && k < i->n_patches; k++)
		r = add_function(i, k, base, err);
	return r;
}
