/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_allocs.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hash.h"

enum { NAME_BYTES = 1024, FILE_BYTES = 1024 };

/* ---- stacks ---- */

/* protomem.go, hideRuntime; since 1.24 parts of the runtime have a path of their own. */
static bool is_runtimes(const struct go_pclntab *t, uint64_t pc)
{
	struct go_code_function f;
	char name[NAME_BYTES];

	if (!go_code_function(t->module, pc, &f))
		return false;
	go_pclntab_name(t, &f, pc, name, sizeof(name));
	return !strncmp(name, "runtime.", 8) ||
	       (t->module->layout->minor >= 24 && !strncmp(name, "internal/runtime/", 17));
}

size_t go_allocs_stack(const struct go_pclntab *t, const struct go_profile *p,
                       const struct go_profile_bucket *b, const uint64_t **ret)
{
	size_t first = 0;

	while (first < b->n && is_runtimes(t, p->pcs[b->first + first]))
		first++;
	if (first == b->n)
		first = 0;
	*ret = p->pcs + b->first + first;
	return b->n - first;
}

struct making {
	struct go_pclntab t;
	struct go_profile p;
	struct profile *to;
	struct hash_map frames; /* pc and place -> frame id + 1; 0: none is shown */
	uint32_t module;
	int64_t pid;
	struct error *err;
};

static void making_clear(struct making *m)
{
	go_profile_clear(&m->p);
	hash_map_clear(&m->frames);
	profile_free(m->to);
}

static int text(struct making *m, const char *s, uint32_t *ret)
{
	return profile_string(m->to, s, strlen(s), ret, m->err);
}

/* The frame of the return address @pc: id + 1; 0 for the end of every goroutine's stack. What is
 * inlined and its callers are one place in the code, @place (0: a new one). */
static int make_frame(struct making *m, uint64_t pc, uint64_t place, uint32_t *ret)
{
	struct profile_frame f = { .module = m->module };
	char name[NAME_BYTES], file[FILE_BYTES];
	struct go_code_function in;
	int r = 0;

	if (go_code_function(m->t.module, pc, &in)) {
		/* inside the call */
		if (pc > in.entry)
			pc--;
		f.offset = place ? place : pc - m->t.module->bias;
		f.inlined = go_pclntab_name(&m->t, &in, pc, name, sizeof(name));
		f.line = go_pclntab_line(&m->t, &in, pc, file, sizeof(file));
		if (!strcmp(name, "runtime.goexit")) {
			*ret = 0;
			return 0;
		}
		r = text(m, name, &f.name);
		if (r == 0)
			r = text(m, file, &f.file);
	} else {
		f.module = 0; /* C, or another module */
		f.offset = pc;
	}
	if (r == 0)
		r = profile_frame(m->to, &f, ret, m->err);
	++*ret;
	return r;
}

static int frame(struct making *m, uint64_t pc, uint64_t place, uint32_t *ret)
{
	uint64_t key = hash_u64(place) + pc, *known = hash_map_get(&m->frames, key);
	int r;

	if (known) {
		*ret = (uint32_t)*known;
		return 0;
	}
	r = make_frame(m, pc, place, ret);
	return r < 0 ? r : hash_map_put(&m->frames, key, *ret, m->err);
}

/* ---- samples ---- */

static int add_stack(struct making *m, const struct go_profile_bucket *b, uint32_t *frames,
                     size_t *ret_n)
{
	const uint64_t *pcs;
	size_t n = go_allocs_stack(&m->t, &m->p, b, &pcs), used = 0;
	uint64_t place = 0;
	uint32_t id;

	for (size_t i = 0; i < n && used < PROFILE_MAX_FRAMES; i++) {
		const struct profile_frame *f;
		int r = frame(m, pcs[i], place, &id);

		if (r < 0)
			return r;
		if (!id)
			continue;
		frames[used++] = id - 1;
		f = profile_frame_at(m->to, id - 1);
		place = f->inlined ? f->offset : 0;
	}
	*ret_n = used;
	return 0;
}

static int add_bucket(struct making *m, const struct go_profile_bucket *b)
{
	const double scale = go_profile_scale(b->size, m->p.rate);
	struct profile_label labels[] = { { .number = (int64_t)b->size }, { .number = m->pid } };
	uint32_t frames[PROFILE_MAX_FRAMES];
	size_t n = 0;
	const int64_t values[PROFILE_HEAP_TYPES] = {
		[PROFILE_ALLOC_OBJECTS] = (int64_t)((double)b->allocs * scale),
		[PROFILE_ALLOC_SPACE] = (int64_t)((double)b->alloc_bytes * scale),
		[PROFILE_INUSE_OBJECTS] = (int64_t)((double)(b->allocs - b->frees) * scale),
		[PROFILE_INUSE_SPACE] = (int64_t)((double)(b->alloc_bytes - b->free_bytes) * scale),
	};
	int r;

	/* nothing that is published yet; or a torn reading of a running program */
	if (!b->allocs || b->frees > b->allocs || b->free_bytes > b->alloc_bytes)
		return 0;
	r = add_stack(m, b, frames, &n);
	if (r == 0)
		r = text(m, "bytes", &labels[0].key);
	if (r == 0)
		r = text(m, "pid", &labels[1].key);
	return r < 0 ? r : profile_add(m->to, frames, n, labels, 2, values, m->err);
}

static int add_figures(struct making *m, const char *version)
{
	struct report *to = profile_report(m->to);
	int64_t held = profile_total(m->to, PROFILE_INUSE_SPACE), sampled = 0;
	int r;

	for (size_t i = 0; i < m->p.n; i++)
		sampled += (int64_t)(m->p.items[i].allocs - m->p.items[i].frees);
	r = report_int(to, "held_bytes", NULL, held, "bytes", m->err);
	if (r == 0)
		r = report_text(to, "engine", NULL, "go", m->err);
	if (r == 0)
		r = report_text(to, "runtime", "runtime", version, m->err);
	if (r == 0)
		r = report_int(to, "sample_rate_bytes", m->p.has_rate ? "one sample in" : NULL,
		               (int64_t)m->p.rate, "bytes", m->err);
	if (r == 0)
		r = report_int(to, "sampled_objects", "sampled objects in use", sampled, "",
		               m->err);
	if (r == 0 && !m->p.has_rate)
		r = report_text(to, "not_scaled", "sampling rate",
		                "not found; counts are of samples, not scaled", m->err);
	if (r == 0 && m->p.has_rate && !m->p.rate)
		r = report_text(to, "not_scaled", "sampling rate",
		                "0 now; counts are of samples from before, not scaled", m->err);
	return r;
}

/* ---- the whole ---- */

static int no_profile(const struct making *m, const char *version, struct error *err)
{
	if (!m->p.is_linked) {
		error_set(err, ENODATA,
		          "the program (%s) records no heap profile: nothing in it reads one, "
		          "so its linker set MemProfileRate to 0",
		          version);
		return error_hint(err,
		                  "import net/http/pprof in the program; `memwho refs` says now "
		                  "who holds its heap, `memwho alloc --allocator libc` records "
		                  "what its C code allocates");
	}
	if (m->p.has_rate && !m->p.rate) {
		error_set(err, ENODATA,
		          "the program (%s) has set MemProfileRate to 0: nothing was "
		          "sampled",
		          version);
		return error_hint(err, "`memwho refs` says who holds its heap");
	}
	error_set(err, EAGAIN, "the heap profile of the program (%s) is still empty", version);
	return error_hint(err, "it samples one allocation in %" PRIu64 " bytes; try again later",
	                  m->p.rate);
}

static int fill(struct making *m, const char *version)
{
	char hex[2 * ELF_FILE_BUILD_ID_BYTES + 1] = "";
	uint32_t build_id;
	int r = profile_new(&m->to, profile_heap_types, PROFILE_HEAP_TYPES, PROFILE_INUSE_SPACE,
	                    m->err);

	elf_file_build_id_hex(m->t.module->exe, hex);
	if (r == 0)
		r = text(m, elf_file_name(m->t.module->exe), &m->module);
	if (r == 0)
		r = text(m, hex, &build_id);
	if (r == 0)
		r = profile_module_set(m->to, m->module, build_id, m->err);
	for (size_t i = 0; r == 0 && i < m->p.n; i++)
		r = add_bucket(m, &m->p.items[i]);
	return r < 0 ? r : add_figures(m, version);
}

int go_allocs_profile(struct image *i, struct profile **ret, uint64_t *ret_fingerprint,
                      struct error *err)
{
	cleanup(making_clear) struct making m = { .pid = image_pid(i), .err = err };
	struct go_module module;
	char version[64] = "";
	int r = go_module_open(i, &module, version, sizeof(version), err);

	if (r == -ENOTSUP && !version[0])
		return 0; /* another runtime's */
	if (r < 0)
		return r;
	go_pclntab_open(&module, &m.t);
	r = go_profile_read(&m.t, &m.p, err);
	if (r < 0)
		return r;
	if (!m.p.n || !m.p.is_linked)
		return no_profile(&m, version, err);
	r = fill(&m, version);
	if (r < 0)
		return r;
	*ret_fingerprint = go_profile_fingerprint(&m.p);
	*ret = take_ptr(m.to);
	return 1;
}
