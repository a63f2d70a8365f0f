/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "inject/safe_point.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/path.h"
#include "base/search.h"
#include "base/steps.h"
#include "inject/inject.h"
#include "target/reader.h"
#include "target/registers.h"
#include "unwind/unwind_space.h"

enum { BASE_FRAMES = 2 }; /* start_thread, clone3: without a name in a stripped libc */

struct safe_point {
	const struct target *target;
	struct symbol_space *space;
	uint64_t function;
	struct safe_point_avoid avoid;
	struct unwind_space code;
};

struct safe_point *safe_point_close(struct safe_point *s)
{
	if (!s)
		return NULL;
	unwind_space_clear(&s->code);
	free(s);
	return NULL;
}

void safe_point_closep(struct safe_point **s)
{
	safe_point_close(*s);
}

int safe_point_open(const struct target *t, struct symbol_space *space, uint64_t function,
                    const struct safe_point_avoid *avoid, struct safe_point **ret,
                    struct error *err)
{
	cleanup(safe_point_closep) struct safe_point *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return error_oom(err);
	s->target = t;
	s->space = space;
	s->function = function;
	s->avoid = *avoid;
	r = unwind_space_read(&s->code, t, space, err);
	if (r < 0)
		return r;
	*ret = take_ptr(s);
	return 0;
}

/* ---- what must not be on the stack ---- */

static bool begins_with_any(const char *name, const char *const *with)
{
	for (; *with; with++) {
		if (strncmp(name, *with, strlen(*with)) == 0)
			return true;
	}
	return false;
}

static bool is_any(const char *name, const char *const *of)
{
	for (; *of; of++) {
		if (strcmp(name, *of) == 0)
			return true;
	}
	return false;
}

/* Allocators' own functions, and who holds their locks across them. Names of
 * glibc 2.31 to 2.42, jemalloc 5, tcmalloc 2, mimalloc 2, Rust's shims. */
static bool is_sensitive_name(const char *name)
{
	static const char *const beginnings[] = {
		"je_",
		"_rjem",
		"rjem_",
		"arena_",
		"tcache_",
		"extent_",
		"prof_",
		"_dl_",
		"dl_iterate",
		"__libc_fork",
		"__run_fork",
		"_Fork",
		"__call_tls_dtors",
		"_IO_cleanup",
		"mi_",
		"_mi_",
		"_int_",
		"__libc_malloc",
		"__libc_free",
		"__libc_calloc",
		"__libc_realloc",
		"__libc_memalign",
		"sysmalloc",
		"systrim",
		"malloc",
		"unlink_chunk",
		"munmap_chunk",
		"heap_trim",
		"new_heap",
		"mtrim",
		"ptmalloc",
		"tcache",
		"mremap_chunk",
		"__malloc",
		"do_rallocx",
		"__nptl_deallocate",
		"__nptl_free_",
		"allocate_stack",
		"__rust_alloc",
		"__rg_",
		"__rdl_",
		"operator new",
		"operator delete",
		"tc_",
		"tcmalloc::",
		"__libc_thread_freeres",
		NULL,
	};
	static const char *const names[] = {
		"free",           "cfree",
		"calloc",         "realloc",
		"memalign",       "aligned_alloc",
		"posix_memalign", "valloc",
		"pvalloc",        "reallocarray",
		"fork",           "vfork",
		"exit",           "__run_exit_handlers",
		"pthread_create", "dlopen",
		"dlclose",        "dlsym",
		"dlmopen",        "mallctl",
		"sdallocx",       "dallocx",
		"mallocx",        "rallocx",
		"xallocx",        "pthread_exit",
		"quick_exit",     NULL,
	};

	return begins_with_any(name, beginnings) || is_any(name, names);
}

static bool is_sensitive_module(const char *path)
{
	static const char *const modules[] = {
		"ld-linux", "ld-2.", "libjemalloc", "libtcmalloc", "libmimalloc", NULL,
	};

	return begins_with_any(path_base(path), modules);
}

struct frame {
	struct symbol_module *module;
	char name[128]; /* "" = nothing covers it */
	bool is_avoided;
};

static bool is_avoided(const struct safe_point_avoid *a, uint64_t pc)
{
	size_t at = partition_point(a->n, i, a->ranges[i].end <= pc);

	return at < a->n && a->ranges[at].start <= pc;
}

static void name_frame(struct safe_point *s, uint64_t pc, bool is_return, struct frame *ret)
{
	struct symbol_frame names[8];
	uint64_t vaddr;
	size_t n = symbol_space_frames(s->space, pc, is_return, names, ARRAY_SIZE(names),
	                               &ret->module, &vaddr);

	/* the outermost is the function that has a symbol; inlined ones are in it */
	snprintf(ret->name, sizeof(ret->name), "%s",
	         n && names[n - 1].name ? names[n - 1].name : "");
	ret->is_avoided = is_avoided(&s->avoid, pc - is_return);
}

static bool is_libc(const struct symbol_module *m)
{
	const char *base = path_base(m ? symbol_module_path(m) : "");

	return strncmp(base, "libc.so", 7) == 0 || strncmp(base, "libc-2.", 7) == 0 ||
	       strncmp(base, "ld-musl", 7) == 0;
}

/*
 * Code without a name in the libc or in the module that is to be called. It is
 * entered through an exported function of that module, which is further out on
 * the stack and was looked at by its name, except at the base of a thread
 * (start_thread, clone3), where a thread that is ending would be, too.
 */
static bool nameless_is_fine(const struct frame *frames, size_t n, size_t i)
{
	bool others_inside = false;

	for (size_t k = i + 1; k < n; k++) {
		if (frames[k].module == frames[i].module && frames[k].name[0])
			return true;
	}
	for (size_t k = 0; k < i; k++)
		others_inside |= frames[k].module != frames[i].module || frames[k].name[0];
	return others_inside && n - i <= BASE_FRAMES;
}

static bool judge(struct safe_point *s, const struct frame *frames, size_t n, char *why,
                  size_t size)
{
	const struct symbol_mapping *called = symbol_space_find(s->space, s->function);

	for (size_t i = 0; i < n; i++) {
		const struct frame *f = &frames[i];
		const char *path = f->module ? symbol_module_path(f->module) : "";
		/* what is avoided is all that the module called has of it */
		bool matters = is_libc(f->module) ||
		               (called && f->module == called->module && !s->avoid.n);

		if (f->is_avoided) {
			snprintf(why, size, "in the allocator's code in %s", path_base(path));
			return false;
		}
		if (is_sensitive_module(path) || (f->name[0] && is_sensitive_name(f->name))) {
			snprintf(why, size, "in %s", f->name[0] ? f->name : path);
			return false;
		}
		if (matters && !f->name[0] && !nameless_is_fine(frames, n, i)) {
			snprintf(why, size, "in code without a name of %s", path);
			return false;
		}
	}
	return true;
}

static int read_stack(void *arg, uint64_t addr, void *buf, size_t len)
{
	return reader_try(arg, addr, buf, len);
}

int safe_point_check(struct safe_point *s, const struct user_regs_struct *regs, char *why,
                     size_t why_bytes, struct error *err)
{
	const struct unwind_regs start = { registers_pc(regs), registers_sp(regs),
		                           registers_frame(regs) };
	cleanup_free struct frame *frames = NULL;
	uint64_t pcs[UNWIND_MAX_FRAMES];
	enum unwind_stop stop;
	size_t n;

	steps_before("unwind");
	n = unwind_walk(s->code.modules, s->code.n_modules, start, read_stack, (void *)s->target,
	                pcs, ARRAY_SIZE(pcs), &stop);
	if (stop == UNWIND_STOP_NO_MODULE &&
	    unwind_space_read(&s->code, s->target, s->space, err) == 0)
		n = unwind_walk(s->code.modules, s->code.n_modules, start, read_stack,
		                (void *)s->target, pcs, ARRAY_SIZE(pcs), &stop);
	if (stop != UNWIND_STOP_END) {
		snprintf(why, why_bytes, "its stack does not unwind");
		return 0;
	}
	frames = calloc(n, sizeof(*frames));
	if (!frames)
		return error_oom(err);
	for (size_t i = 0; i < n; i++)
		name_frame(s, pcs[i], i > 0, &frames[i]);
	return judge(s, frames, n, why, why_bytes);
}
