/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/runtime_trim.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "runtime/function.h"
#include "runtime/jemalloc/jemalloc_control.h"
#include "runtime/runtime.h"

enum {
	THREAD_MS = 100,    /* a thread that does not come to a safe point is left out */
	MOST_THREADS = 512, /* of a step for each thread */
};

const struct runtime_trim *runtime_trim_of(const char *kind)
{
	for (size_t i = 0; registry_runtimes[i]; i++) {
		const struct runtime_trim *t = registry_runtimes[i]->trim;

		for (size_t k = 0; t && t->kinds[k]; k++) {
			if (!strcmp(t->kinds[k], kind))
				return t;
		}
	}
	return NULL;
}

/* ---- where they are ---- */

static uint64_t find_any(struct symbol_space *space, const char *const *names)
{
	uint64_t at = 0;

	for (; *names && !at; names++)
		at = function_find(space, *names);
	return at;
}

void runtime_trim_found_clear(struct runtime_trim_found *f)
{
	free(f->ranges);
	*f = (struct runtime_trim_found){ 0 };
}

static int find_mallctl(const struct runtime_trim *trim, const struct target *t,
                        struct symbol_space *space, struct runtime_trim_found *ret,
                        struct error *err)
{
	cleanup(jemalloc_control_clear) struct jemalloc_control c = { 0 };
	int r = jemalloc_control_find(t, space, &c, err);

	if (r < 0)
		return r;
	*ret = (struct runtime_trim_found){ .errno_location = c.errno_location,
		                            .n_ranges = c.n_ranges,
		                            .ranges = take_ptr(c.ranges) };
	for (size_t i = 0; i < RUNTIME_TRIM_STEPS && trim->steps[i].functions; i++)
		ret->functions[i] = c.mallctl;
	return 0;
}

static int prove_mallctl(struct inject *in, const struct runtime_trim_found *found,
                         struct error *err)
{
	struct jemalloc_control c = { .in = in,
		                      .mallctl = found->functions[0],
		                      .errno_location = found->errno_location };

	return jemalloc_control_prove(&c, err);
}

int runtime_trim_find(const struct runtime_trim *trim, const struct target *t,
                      struct symbol_space *space, struct runtime_trim_found *ret, struct error *err)
{
	struct runtime_trim_found found = {
		.errno_location = function_find(space, "__errno_location"),
	};

	if (!trim->call) {
		error_set(err, ENOTSUP, "process %d (%s): %s %s", (int)t->pid, t->comm,
		          trim->allocator, trim->never);
		return error_hint(err, "memwho %d shows what is free in it", (int)t->pid);
	}
	for (size_t i = 0; i < RUNTIME_TRIM_STEPS && trim->steps[i].functions; i++) {
		found.functions[i] = find_any(space, trim->steps[i].functions);
		if (found.functions[i] || trim->steps[i].caches)
			continue;
		if (trim->is_mallctl)
			return find_mallctl(trim, t, space, ret, err);
		error_set(
			err, ENOTSUP,
			"%s of process %d: no module has a symbol %s, so its address is not known",
			trim->allocator, (int)t->pid, trim->steps[i].functions[0]);
		return error_hint(err, "a program that is linked statically must not be stripped");
	}
	if (!found.errno_location) {
		error_set(err, ENOTSUP,
		          "%s of process %d: no module has a symbol __errno_location, so a "
		          "thread's errno could not be kept",
		          trim->allocator, (int)t->pid);
		return error_hint(err, "a program that is linked statically must not be stripped");
	}
	*ret = found;
	return 0;
}

/* ---- the calls ---- */

static int call(const struct runtime_trim_step *s, uint64_t function, uint64_t errno_location,
                struct inject *in, struct runtime_trim_done *done, struct error *err)
{
	uint64_t args[6], ns;
	int r = 0;

	memcpy(args, s->args, sizeof(args));
	if (s->text) {
		args[0] = inject_scratch(in);
		r = inject_write(in, args[0], s->text, strlen(s->text) + 1, err);
	}
	if (r == 0)
		r = inject_function(in, function, errno_location, args, &done->result, err);
	if (r < 0)
		return r;
	done->calls++;
	ns = inject_stats_of(in)->last_total_ns;
	done->longest_ns = ns > done->longest_ns ? ns : done->longest_ns;
	if (s->is_returned && (uint32_t)done->result)
		return error_sys(err, (int)(uint32_t)done->result & 0xff, "%s", s->text);
	return 0;
}

static int call_in_each(const struct runtime_trim_step *s, uint64_t function,
                        uint64_t errno_location, struct inject *in, const struct target *t,
                        struct runtime_trim_done *done, struct error *err)
{
	cleanup_free pid_t *tids = NULL;
	size_t n = 0;
	int r = target_threads(t, &tids, &n, err);

	for (size_t i = 0; r == 0 && i < n; i++) {
		if (i >= MOST_THREADS) {
			done->threads_left += n - i;
			break;
		}
		inject_only(in, tids[i]);
		r = call(s, function, errno_location, in, done, err);
		if (r == -EAGAIN) {
			done->threads_left++;
			r = 0;
		}
	}
	inject_only(in, 0);
	return r;
}

int runtime_trim_call(const struct runtime_trim *trim, const struct runtime_trim_found *found,
                      struct inject *in, const struct target *t, bool caches, unsigned timeout_ms,
                      struct runtime_trim_done *ret, struct error *err)
{
	int r = 0;

	*ret = (struct runtime_trim_done){ 0 };
	inject_avoid(in, found->ranges, found->n_ranges);
	if (found->n_ranges)
		r = prove_mallctl(in, found, err);
	for (size_t i = 0; r == 0 && i < RUNTIME_TRIM_STEPS; i++) {
		const struct runtime_trim_step *s = &trim->steps[i];

		if (!found->functions[i] || (s->caches && !caches))
			continue;
		inject_set_timeout(in, s->each_thread ? THREAD_MS : timeout_ms);
		if (s->each_thread)
			r = call_in_each(s, found->functions[i], found->errno_location, in, t, ret,
			                 err);
		else
			r = call(s, found->functions[i], found->errno_location, in, ret, err);
	}
	return r;
}
