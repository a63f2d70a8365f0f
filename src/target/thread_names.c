/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/thread_names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"

void thread_names_clear(struct thread_names *n)
{
	hash_map_clear(&n->index);
	free(n->names);
	*n = (struct thread_names){ 0 };
}

static void learn_thread(struct thread_names *n, const struct target *t, pid_t tid)
{
	uint64_t *known = hash_map_get(&n->index, tid);
	size_t len, at = known ? *known : n->n;
	cleanup_free char *text = NULL;
	struct error ignored;
	char name[64];

	if (known && strcmp(n->names[at], t->comm))
		return;
	snprintf(name, sizeof(name), "task/%d/comm", tid);
	if (target_proc_file(t, name, 256, &text, &len, &ignored) < 0)
		return;
	/* the kernel's newline at the end; a name may have its own */
	if (len && text[len - 1] == '\n')
		text[len - 1] = '\0';
	if (!known) {
		if (array_reserve(&n->names, &n->cap, at + 1, &ignored) < 0 ||
		    hash_map_put(&n->index, tid, at, &ignored) < 0)
			return;
		n->n++;
	}
	snprintf(n->names[at], sizeof(*n->names), "%s", text);
}

void thread_names_learn(struct thread_names *n, const struct target *t)
{
	enum { MANY = 512 };
	cleanup_free pid_t *tids = NULL;
	struct error ignored;
	size_t count = 0;

	if (target_threads(t, &tids, &count, &ignored) < 0)
		return;
	for (size_t i = 0; i < count && i < MANY; i++)
		learn_thread(n, t, tids[i]);
}

const char *thread_names_get(const struct thread_names *n, uint32_t tid, char buf[32])
{
	uint64_t *index = hash_map_get(&n->index, tid);

	if (index)
		return n->names[*index];
	snprintf(buf, 32, "tid %u", tid);
	return buf;
}
