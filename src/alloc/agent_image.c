/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/agent_image.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/agent_ends.h"
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

/* ---- what is left out ---- */

static int leave_out(struct agent_image *i, size_t probe, const char *why, struct error *err)
{
	struct runtime_probe *p = &i->tracee->probes.probes[probe];

	p->left_out = true;
	return runtime_add_gap(&i->tracee->probes, p->name, why, err);
}

static size_t probe_of(const struct agent_image *i, const struct agent_patch *p)
{
	return (size_t)(p->probe - i->tracee->probes.probes);
}

static void drop(struct agent_image *i, size_t k)
{
	memmove(&i->patches[k], &i->patches[k + 1], (--i->n_patches - k) * sizeof(i->patches[0]));
}

/* Blocks that are allocated by one of them are freed by the others only. */
static int leave_group_out(struct agent_image *i, size_t probe, const char *why, struct error *err)
{
	const struct runtime_probes *all = &i->tracee->probes;
	const struct runtime_probe *p = &all->probes[probe];
	char text[sizeof(all->gaps->reason)];
	int r = leave_out(i, probe, why, err);

	snprintf(text, sizeof(text), "%s cannot be patched, and it belongs to it", p->name);
	for (size_t k = 0; r == 0 && k < all->n_probes; k++) {
		const struct runtime_probe *q = &all->probes[k];

		if (q->owner == p->owner && q->group == p->group && !q->left_out)
			r = leave_out(i, k, text, err);
	}
	for (size_t k = i->n_patches; k-- > 0;) {
		if (i->patches[k].probe->owner == p->owner &&
		    i->patches[k].probe->group == p->group)
			drop(i, k);
	}
	return r;
}

/* A function that allocates is named, and so is a whole group for one that frees; else one
 * that frees is the end of it, but where another
 * one, which it calls, does its work, and is looked at. */
static int refuse_or_leave_out(struct agent_image *i, size_t probe, const struct error *why,
                               struct error *err)
{
	const struct runtime_probe *p = &i->tracee->probes.probes[probe];
	char text[sizeof(i->tracee->probes.gaps->reason)];
	const struct runtime_probe *other = NULL;

	if (is_alloc(p))
		return leave_out(i, probe, why->message, err);
	if (p->group)
		return leave_group_out(i, probe, why->message, err);
	other = agent_ends_calls(i->tracee, symbol_module_elf(p->module), p->vaddr, p->size,
	                         p->code.role);
	if (!other) {
		*err = *why;
		return err->code;
	}
	snprintf(text, sizeof(text), "%s; but %s, which it calls, is recorded", why->message,
	         other->name);
	return leave_out(i, probe, text, err);
}

static int drop_for(struct agent_image *i, size_t k, const char *why, struct error *err)
{
	struct error reason;
	int r;

	error_set(&reason, ENOTSUP, "%s cannot be patched: %s", i->patches[k].probe->name, why);
	const bool is_grouped = i->patches[k].probe->group && !is_alloc(i->patches[k].probe);

	r = refuse_or_leave_out(i, probe_of(i, &i->patches[k]), &reason, err);
	if (r == 0 && !is_grouped) /* a group has dropped its patches */
		drop(i, k);
	return r;
}

/* ---- a function that does not throw, in place of one that may ---- */

static const struct agent_patch *quiet_patch(const struct agent_image *i,
                                             const struct agent_patch *p)
{
	for (size_t k = 0; k < i->n_patches; k++) {
		if (i->patches[k].probe->module == p->probe->module &&
		    i->patches[k].probe->vaddr == p->probe->quiet)
			return &i->patches[k];
	}
	return NULL;
}

/* It is patched itself, or ends in a function that is and that takes the call for one of
 * the allocator's own, as it returns to the agent. */
static bool has_quiet(const struct agent_image *i, const struct agent_patch *p)
{
	return p->probe->quiet &&
	       (quiet_patch(i, p) ||
	        agent_ends_straight(i->tracee, symbol_module_elf(p->probe->module),
	                            p->probe->quiet));
}

static int drop_throwing(struct agent_image *i, struct error *err)
{
	int r = 0;

	for (size_t k = i->n_patches; r == 0 && k-- > 0;) {
		const struct agent_patch *p = &i->patches[k];

		if (!(p->probe->code.flags & PLAN_THROWS) || has_quiet(i, p))
			continue;
		r = drop_for(i, k, "it may throw, and has no counterpart that does not", err);
	}
	return r;
}

/* ---- modules ---- */

/* The patches of one module, which are together. */
static size_t end_of_module(const struct agent_image *i, size_t k)
{
	const struct symbol_module *m = i->patches[k].probe->module;

	while (k < i->n_patches && i->patches[k].probe->module == m)
		k++;
	return k;
}

static int drop_jumped_into(struct agent_image *i, struct error *err)
{
	int r = 1;

	for (size_t k = 0; r >= 0 && k < i->n_patches;) {
		size_t which;

		r = agent_patch_check_jumps(i->tracee, i->patches[k].probe->module, i->patches,
		                            i->n_patches, &which, err);
		if (r == 1)
			k = end_of_module(i, k);
		else if (r == 0)
			r = drop_for(i, which, "other code jumps into its beginning", err);
	}
	return r < 0 ? r : 0;
}

struct agent_span agent_image_span(const struct agent_image *i)
{
	struct agent_span s = { UINT64_MAX, 0 };

	for (size_t k = 0; k < i->n_patches; k++) {
		s.start = s.start < i->patches[k].at ? s.start : i->patches[k].at;
		s.end = s.end > i->patches[k].at ? s.end : i->patches[k].at;
	}
	return s;
}

static int leave_module_out(struct agent_image *i, size_t k, size_t end, struct error *err)
{
	char name[RUNTIME_PROBE_NAME_BYTES], why[sizeof(i->tracee->probes.gaps->reason)];
	const struct runtime_probe *p = i->patches[k].probe;
	int r;

	snprintf(name, sizeof(name), "%s's %s and %zu more", p->owner->name, p->name, end - k - 1);
	snprintf(why, sizeof(why), "too far away from %s; --allocator %s records it alone",
	         i->patches[0].probe->owner->name, p->owner->name);
	r = runtime_add_gap(&i->tracee->probes, name, why, err);
	for (; end > k; end--) {
		i->tracee->probes.probes[probe_of(i, &i->patches[k])].left_out = true;
		drop(i, k);
	}
	return r;
}

/* Jumps reach 2 GiB: of modules that lie farther apart only the first one's neighbours
 * are recorded. The first is the most special one. */
static int drop_distant(struct agent_image *i, struct error *err)
{
	int r = 0;

	for (size_t k = 0; r == 0 && k < i->n_patches;) {
		const size_t end = end_of_module(i, k);
		const int64_t far = (int64_t)(i->patches[k].at - i->patches[0].at);

		if (far > -AGENT_MAX_SPAN / 2 && far < AGENT_MAX_SPAN / 2)
			k = end;
		else
			r = leave_module_out(i, k, end, err);
	}
	return r;
}

/* Each with its reason, as far as a message goes. */
static int refuse_all(const struct agent_image *i, struct error *err)
{
	const struct runtime_probes *p = &i->tracee->probes;
	char all[ERROR_MESSAGE_BYTES - 64] = "";
	size_t n = 0;

	for (size_t k = 0; k < p->n_gaps && n < sizeof(all); k++) {
		const char *reason = p->gaps[k].reason, *behind = strstr(reason, ": ");

		n += (size_t)snprintf(all + n, sizeof(all) - n, "%s%s: %s", n ? "; " : "",
		                      p->gaps[k].name, behind ? behind + 2 : reason);
	}
	if (n >= sizeof(all))
		memcpy(all + sizeof(all) - 4, "...", 4);
	return error_set(err, ENOTSUP, "no allocation function can be patched%s%s", n ? ": " : "",
	                 all);
}

static int check_whole(const struct agent_image *i, struct error *err)
{
	bool allocates = false;

	for (size_t k = 0; k < i->n_patches; k++)
		allocates |= is_alloc(i->patches[k].probe);
	if (i->n_patches > AGENT_MAX_FUNCTIONS)
		return error_set(err, ENOTSUP, "the allocators have too many functions");
	return allocates ? 0 : refuse_all(i, err);
}

static int plan_all(struct agent_image *i, struct error *why, struct error *err)
{
	const size_t n = i->tracee->probes.n_probes;
	int r = 0;

	for (size_t k = 0; r >= 0 && k < n; k++) {
		if (i->tracee->probes.probes[k].group && i->tracee->probes.probes[k].left_out)
			continue;
		r = agent_patch_plan(i->tracee, k, i->in_pages, &i->patches[i->n_patches], why);
		i->n_patches += r == 1;
		if (r == -ENOTSUP)
			r = refuse_or_leave_out(i, k, why, err);
		else if (r < 0)
			*err = *why;
	}
	return r < 0 ? r : 0;
}

int agent_image_plan(struct tracee *t, struct agent_image *ret, struct error *err)
{
	struct error why = { 0 };
	int r;

	free(ret->patches);
	ret->n_patches = 0;
	ret->tracee = t;
	ret->patches = calloc(t->probes.n_probes + 1, sizeof(*ret->patches));
	if (!ret->patches)
		return error_oom(err);
	r = plan_all(ret, &why, err);
	if (r == 0)
		r = drop_throwing(ret, err);
	if (r == 0)
		r = drop_distant(ret, err);
	if (r == 0)
		r = drop_jumped_into(ret, err);
	if (r == 0) /* a counterpart may have gone meanwhile */
		r = drop_throwing(ret, err);
	if (r == 0)
		r = check_whole(ret, err);
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

/* Once all originals are known. */
static void add_quiet(struct agent_image *i)
{
	struct agent_table *t = table_of(i);

	for (size_t k = 0; k < i->n_patches; k++) {
		const struct agent_patch *p = &i->patches[k], *q;
		uint64_t bias = 0;

		if (!(p->probe->code.flags & PLAN_THROWS))
			continue;
		q = quiet_patch(i, p);
		tracee_find_bias(i->tracee, p->probe->module, &bias);
		t->functions[k].quiet = q ? t->functions[q - i->patches].original
		                          : p->probe->quiet + bias;
	}
}

static int add_function(struct agent_image *i, unsigned k, uint64_t base, struct error *err)
{
	const struct agent_patch *p = &i->patches[k];
	struct agent_function *f = &table_of(i)->functions[k];
	struct agent_stub_ways ways = { 0 };
	int64_t far;
	int32_t far32;
	int r = agent_stub_make(base, base + AGENT_SLOW_AT, k, i->cpu_at, &p->head, &p->fast,
	                        i->bytes + AGENT_STUBS_AT + k * AGENT_STUB_BYTES, &ways);

	far = (int64_t)((i->exact ? ways.exact : ways.sampled) - (p->at + AGENT_PATCH_BYTES));
	far32 = (int32_t)far;
	if (r < 0 || far != far32)
		return error_set(err, ENOTSUP, "%s cannot be patched: the agent is out of reach",
		                 p->probe->name);
	f->original = ways.original;
	f->code = p->probe->entry;
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
	t->cpu_at = i->cpu_at;
	r = add_ranges(i, err);
	for (unsigned k = 0; r == 0 && k < i->n_patches; k++)
		r = add_function(i, k, base, err);
	add_quiet(i);
	return r;
}
