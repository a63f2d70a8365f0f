/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Names that go with a process: its threads', its contexts', its kind. They are
 * read while it lives and kept. */

#include "alloc/tracee.h"

#include "base/array.h"

bool tracee_names_are_due(struct tracee *t, u64 now_ns)
{
	u64 age = now_ns - t->attached_ns;

	if (t->ended || now_ns < t->learn_ns)
		return false;
	t->learn_ns = now_ns + (age < 1000000000ULL ? 20000000ULL + age / 2 : 1000000000ULL);
	return true;
}

void tracee_names_learn(struct tracee *t)
{
	struct runtime_view view = { t->target, t->space };
	struct error ignored;

	if (t->ended || target_alive(t->target) < 0)
		return;
	thread_names_learn(&t->threads, t->target);
	for (size_t i = 0; i < t->n_runtimes; i++) {
		if (t->runtimes[i]->process_kind)
			t->runtimes[i]->process_kind(&view, t->kind, sizeof(t->kind));
	}
	if (t->n_contexts)
		tracee_names_of_contexts(t, NULL, 0, &ignored);
}

static int remember_context(struct tracee *t, u64 address, struct error *err)
{
	int r;

	if (hash_map_get(&t->context_index, address))
		return 0;
	r = array_reserve(&t->contexts, &t->cap_contexts, t->n_contexts + 1, err);
	if (r < 0)
		return r;
	r = hash_map_put(&t->context_index, address, t->n_contexts, err);
	if (r < 0)
		return r;
	t->contexts[t->n_contexts++] = (struct runtime_context){ .address = address };
	return 0;
}

int tracee_names_of_contexts(struct tracee *t, const u64 *addresses, size_t n, struct error *err)
{
	struct runtime_view view = { t->target, t->space };

	for (size_t i = 0; i < n; i++) {
		int r = remember_context(t, addresses[i], err);

		if (r < 0)
			return r;
	}
	if (t->ended || target_alive(t->target) < 0)
		return 0;
	for (size_t i = 0; i < t->n_runtimes; i++) {
		int r = 0;

		if (t->runtimes[i]->name_contexts && t->n_contexts)
			r = t->runtimes[i]->name_contexts(&view, t->contexts, t->n_contexts, err);
		if (r < 0)
			return r;
	}
	return 0;
}

const struct runtime_context *tracee_names_context(const struct tracee *t, u64 address)
{
	uint64_t *index = hash_map_get(&t->context_index, address);

	return index ? &t->contexts[*index] : NULL;
}
