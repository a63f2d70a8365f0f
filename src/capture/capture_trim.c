/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "capture/capture_trim.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "symbol/symbol.h"

enum { TIMEOUT_MS = 30000, LOOKS = 4 };

void capture_trim_clear(struct capture_trim *c)
{
	heaps_clear(&c->before);
	heaps_clear(&c->after);
}

struct session {
	struct heaps_session heaps;
	struct runtime_trim_found found[CAPTURE_TRIM_MAX];
};

static void close_session(struct session *s)
{
	heaps_close(&s->heaps);
	for (size_t i = 0; i < CAPTURE_TRIM_MAX; i++)
		runtime_trim_found_clear(&s->found[i]);
}

/* Allocators that have memory; what each one's functions are. */
static int find_allocators(struct session *s, struct capture_trim *c, struct error *err)
{
	for (size_t i = 0; i < c->before.n; i++) {
		const struct heaps_heap *h = &c->before.items[i];
		struct capture_trim_one *one = &c->items[c->n];

		if (!h->trim || !h->virtual_bytes)
			continue;
		one->trim = h->trim;
		one->refused.code = 0;
		if (runtime_trim_find(h->trim, s->heaps.target, s->heaps.space, &s->found[c->n],
		                      &one->refused) == 0)
			c->n_asked++;
		c->n++;
	}
	if (!c->n) {
		error_set(err, ENOTSUP,
		          "process %d (%s) has no heap of an allocator that memwho knows",
		          (int)c->pid, c->comm);
		return error_hint(err, "memwho %d shows whose its memory is", (int)c->pid);
	}
	if (!c->n_asked) {
		*err = c->items[0].refused;
		return err->code;
	}
	return 0;
}

/* What these functions may ask the kernel for. */
static int open_inject(struct session *s, unsigned timeout_ms, struct inject **ret,
                       struct error *err)
{
	static const struct inject_call calls[] = {
		{ "madvise", SYS_madvise, { 0x10000, 4096, MADV_DONTNEED } },
		{ "madvise", SYS_madvise, { 0x10000, 4096, MADV_FREE } },
		{ "munmap", SYS_munmap, { 0x10000, 4096 } },
		{ "mprotect", SYS_mprotect, { 0x10000, 4096, PROT_NONE } },
		{ "brk", SYS_brk, { 0x10000 } },
		{ "futex", SYS_futex, { 0x10000, 128, 2 } },
	};
	const struct inject_options o = {
		.timeout_ms = timeout_ms,
		.calls = calls,
		.n_calls = ARRAY_SIZE(calls),
	};

	return inject_open(s->heaps.target, s->heaps.space, &o, ret, err);
}

static int ask(struct session *s, const struct capture_trim_options *o, struct capture_trim *c,
               struct error *err)
{
	const unsigned timeout_ms = o->timeout_ms ? o->timeout_ms : TIMEOUT_MS;
	cleanup(inject_closep) struct inject *in = NULL;
	int r = open_inject(s, timeout_ms, &in, err);

	for (size_t i = 0; r == 0 && i < c->n; i++) {
		struct capture_trim_one *one = &c->items[i];

		if (!one->refused.code)
			r = runtime_trim_call(one->trim, &s->found[i], in, s->heaps.target,
			                      o->caches, timeout_ms, &one->done, err);
	}
	if (in)
		c->stats = *inject_stats_of(in);
	return r;
}

static bool has_allocator(const struct heaps *h)
{
	for (size_t i = 0; i < h->n; i++) {
		if (h->items[i].trim)
			return true;
	}
	return false;
}

/* A heap that is torn by busy threads may not be recognised: again, and at last while they stand
 * still. */
static int read_before(struct session *s, struct heaps *ret, struct error *err)
{
	int r = 0;

	for (unsigned i = 0; i < LOOKS && r == 0 && !has_allocator(ret); i++)
		r = heaps_read(&s->heaps, i == LOOKS - 1, ret, err);
	return r;
}

int capture_trim(pid_t pid, const struct capture_trim_options *o, struct capture_trim *ret,
                 struct error *err)
{
	cleanup(close_session) struct session s = { 0 };
	int r = heaps_open(pid, &s.heaps, err);

	if (r < 0)
		return r;
	ret->pid = s.heaps.target->pid;
	memcpy(ret->comm, s.heaps.target->comm, sizeof(ret->comm));
	r = read_before(&s, &ret->before, err);
	if (r == 0)
		r = find_allocators(&s, ret, err);
	if (r < 0 || o->only_predict)
		return r;
	r = ask(&s, o, ret, err);
	if (r == 0)
		r = heaps_read(&s.heaps, false, &ret->after, err);
	if (r == 0)
		heaps_note_missing(&ret->before, &ret->after);
	return r;
}
