/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/path.h"
#include "profile/gzip.h"
#include "profile/pprof.h"
#include "profile/pprof_format.h"
#include "profile/pprof_intervals.h"
#include "profile/pprof_report.h"
#include "profile/proto.h"
#include "profile/strings.h"
#include "profile/text.h"

enum {
	PAGE_BYTES = 4096,
	FIRST_ADDRESS = 0x10000000, /* of the first mapping: no offset is address 0 */
};

struct mapping {
	uint32_t path; /* string id in the profile */
	uint32_t build_id;
	uint64_t start, limit; /* made up: each module gets a range of its own */
	bool has_files, has_inlines;
};

/* A location of several frames: code with what is inlined there. */
struct run {
	size_t start; /* in run_frames */
	uint32_t n;
	uint32_t location;
};

struct writer {
	const struct profile *p;
	struct strings strings; /* of the file */
	struct text text;
	struct mapping *mappings;
	size_t n_mappings, cap_mappings;
	struct hash_map mapping_of;  /* path's string id -> index */
	struct hash_map function_of; /* name << 32 | file, file's strings -> id */
	uint32_t *location_of;       /* frame id -> location of that frame alone, or 0 */
	uint32_t *run_frames;
	size_t n_run_frames, cap_run_frames;
	struct run *runs;
	size_t n_runs, cap_runs;
	struct hash_map run_of; /* hash of the frames -> index */
	uint32_t n_functions, n_locations;
	struct proto out, functions, locations;
	struct proto message, inner; /* being built */
};

static void writer_clear(struct writer *w)
{
	strings_clear(&w->strings);
	text_clear(&w->text);
	free(w->mappings);
	hash_map_clear(&w->mapping_of);
	hash_map_clear(&w->function_of);
	free(w->location_of);
	free(w->run_frames);
	free(w->runs);
	hash_map_clear(&w->run_of);
	proto_clear(&w->out);
	proto_clear(&w->functions);
	proto_clear(&w->locations);
	proto_clear(&w->message);
	proto_clear(&w->inner);
}

/* A string of the file: protobuf's strings are UTF-8. */
static int put_string(struct writer *w, const char *s, uint32_t *ret, struct error *err)
{
	int r;

	w->text.n = 0;
	r = text_append_utf8(&w->text, s, strlen(s), err);
	return r < 0 ? r : strings_intern(&w->strings, w->text.s, w->text.n, ret, err);
}

static int find_mapping(struct writer *w, uint32_t path, struct mapping **ret, struct error *err)
{
	uint64_t *known = hash_map_get(&w->mapping_of, path);
	int r;

	if (known) {
		*ret = &w->mappings[*known];
		return 0;
	}
	r = array_reserve(&w->mappings, &w->cap_mappings, w->n_mappings + 1, err);
	if (r == 0)
		r = hash_map_put(&w->mapping_of, path, w->n_mappings, err);
	if (r < 0)
		return r;
	w->mappings[w->n_mappings] = (struct mapping){ .path = path };
	*ret = &w->mappings[w->n_mappings++];
	return 0;
}

/* Collect modules, with the highest offset of each as its limit. */
static int collect_mappings(struct writer *w, struct error *err)
{
	const struct profile_module *program = profile_program(w->p);
	struct mapping *m;
	/* go tool pprof names the whole after the first one */
	int r = program ? find_mapping(w, program->path, &m, err) : 0;

	for (size_t i = 0; r == 0 && i < profile_n_modules(w->p); i++) {
		const struct profile_module *module = profile_module_at(w->p, i);

		r = find_mapping(w, module->path, &m, err);
		if (r == 0)
			m->build_id = module->build_id;
	}
	for (uint32_t i = 0; r == 0 && i < profile_n_frames(w->p); i++) {
		const struct profile_frame *f = profile_frame_at(w->p, i);

		if (!f->module)
			continue;
		r = find_mapping(w, f->module, &m, err);
		if (r < 0)
			break;
		m->limit = f->offset > m->limit ? f->offset : m->limit;
		m->has_files |= f->file != 0;
		m->has_inlines |= f->inlined;
	}
	return r;
}

/* One range behind the other. An offset that leaves no room in 64 bits is
 * nonsense from a file; addresses then wrap, and wrap back when read. */
static void place_mappings(struct writer *w)
{
	uint64_t next = FIRST_ADDRESS;

	for (size_t i = 0; i < w->n_mappings; i++) {
		struct mapping *m = &w->mappings[i];
		uint64_t size = m->limit / PAGE_BYTES * PAGE_BYTES + PAGE_BYTES;

		m->start = next;
		if (m->limit >= UINT64_MAX / 4 || next >= UINT64_MAX / 4) {
			m->limit = UINT64_MAX;
			continue;
		}
		m->limit = next + size;
		/* a gap: adjacent ranges of one file are merged by some readers */
		next = m->limit + PAGE_BYTES;
	}
}

static int write_mappings(struct writer *w, struct error *err)
{
	for (size_t i = 0; i < w->n_mappings; i++) {
		const struct mapping *m = &w->mappings[i];
		uint32_t file, build_id;
		int r = put_string(w, profile_text(w->p, m->path), &file, err);

		if (r == 0)
			r = put_string(w, profile_text(w->p, m->build_id), &build_id, err);
		if (r < 0)
			return r;
		proto_number(&w->message, MAPPING_ID, i + 1);
		proto_number(&w->message, MAPPING_START, m->start);
		proto_number(&w->message, MAPPING_LIMIT, m->limit);
		proto_number(&w->message, MAPPING_FILE, file);
		proto_number(&w->message, MAPPING_BUILD_ID, build_id);
		/* without it, go tool pprof looks for the file and symbolises again */
		proto_number(&w->message, MAPPING_HAS_FUNCTIONS, 1);
		proto_number(&w->message, MAPPING_HAS_FILES, m->has_files);
		proto_number(&w->message, MAPPING_HAS_LINES, m->has_files);
		proto_number(&w->message, MAPPING_HAS_INLINES, m->has_inlines);
		proto_message(&w->out, PPROF_MAPPING, &w->message);
	}
	return 0;
}

/* What a person reads, whole; the reader knows "module+0xoffset" again. */
static int put_name(struct writer *w, const struct profile_frame *f, uint32_t *ret,
                    struct error *err)
{
	const char *name = profile_text(w->p, f->name);
	const char *module = path_base(profile_text(w->p, f->module));
	char offset[32];
	int r;

	if (*name)
		return put_string(w, name, ret, err);
	if (!*module)
		return put_string(w, "[unknown]", ret, err);
	snprintf(offset, sizeof(offset), "+0x%" PRIx64, f->offset);
	w->text.n = 0;
	r = text_append_utf8(&w->text, module, strlen(module), err);
	if (r == 0)
		r = text_append(&w->text, offset, strlen(offset), err);
	return r < 0 ? r : strings_intern(&w->strings, w->text.s, w->text.n, ret, err);
}

static int find_function(struct writer *w, const struct profile_frame *f, uint32_t *ret,
                         struct error *err)
{
	struct proto *b = &w->functions;
	uint32_t name, file;
	uint64_t key, *known;
	int r = put_name(w, f, &name, err);

	if (r == 0)
		r = put_string(w, profile_text(w->p, f->file), &file, err);
	if (r < 0)
		return r;
	key = (uint64_t)name << 32 | file;
	known = hash_map_get(&w->function_of, key);
	if (known) {
		*ret = (uint32_t)*known;
		return 0;
	}
	r = hash_map_put(&w->function_of, key, w->n_functions + 1, err);
	if (r < 0)
		return r;
	*ret = ++w->n_functions;
	proto_number(&w->inner, FUNCTION_ID, *ret);
	proto_number(&w->inner, FUNCTION_NAME, name);
	proto_number(&w->inner, FUNCTION_SYSTEM_NAME, name);
	proto_number(&w->inner, FUNCTION_FILE, file);
	proto_message(b, PPROF_FUNCTION, &w->inner);
	return 0;
}

/* One location for these frames: leaf-most first, what is not inlined last. */
static int write_location(struct writer *w, const uint32_t *frames, size_t n, uint32_t *ret,
                          struct error *err)
{
	const struct profile_frame *last = profile_frame_at(w->p, frames[n - 1]);
	struct proto lines = { 0 };
	uint32_t function;
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++) {
		const struct profile_frame *f = profile_frame_at(w->p, frames[i]);

		r = find_function(w, f, &function, err);
		if (r < 0)
			break;
		proto_number(&w->inner, LINE_FUNCTION, function);
		proto_number(&w->inner, LINE_LINE, f->line);
		proto_message(&lines, LOCATION_LINE, &w->inner);
	}
	if (r == 0) {
		*ret = ++w->n_locations;
		proto_number(&w->message, LOCATION_ID, *ret);
		if (last->module) {
			uint64_t at = *hash_map_get(&w->mapping_of, last->module);

			proto_number(&w->message, LOCATION_MAPPING, at + 1);
			proto_number(&w->message, LOCATION_ADDRESS,
			             w->mappings[at].start + last->offset);
		}
		proto_append(&w->message, &lines);
		proto_message(&w->locations, PPROF_LOCATION, &w->message);
	}
	proto_clear(&lines);
	return r;
}

/* How many frames from @frames on are one place in the code. */
static size_t run_length(const struct profile *p, const uint32_t *frames, size_t n)
{
	size_t i = 0;

	for (; i + 1 < n; i++) {
		const struct profile_frame *f = profile_frame_at(p, frames[i]);
		const struct profile_frame *caller = profile_frame_at(p, frames[i + 1]);

		if (!f->inlined || !f->module || caller->module != f->module ||
		    caller->offset != f->offset)
			break;
	}
	return i + 1;
}

static int find_run(struct writer *w, const uint32_t *frames, size_t n, uint32_t *ret,
                    struct error *err)
{
	uint64_t hash = hash_bytes(frames, n * sizeof(*frames), w->strings.seed), *known;
	size_t pos = 0;
	int r;

	while ((known = hash_map_next(&w->run_of, hash, &pos))) {
		const struct run *run = &w->runs[*known];

		if (run->n == n &&
		    memcmp(w->run_frames + run->start, frames, n * sizeof(*frames)) == 0) {
			*ret = run->location;
			return 0;
		}
	}
	r = array_reserve(&w->run_frames, &w->cap_run_frames, w->n_run_frames + n, err);
	if (r == 0)
		r = array_reserve(&w->runs, &w->cap_runs, w->n_runs + 1, err);
	if (r == 0)
		r = hash_map_add(&w->run_of, hash, w->n_runs, err);
	if (r == 0)
		r = write_location(w, frames, n, ret, err);
	if (r < 0)
		return r;
	memcpy(w->run_frames + w->n_run_frames, frames, n * sizeof(*frames));
	w->runs[w->n_runs++] = (struct run){ w->n_run_frames, (uint32_t)n, *ret };
	w->n_run_frames += n;
	return 0;
}

static int find_location(struct writer *w, const uint32_t *frames, size_t n, uint32_t *ret,
                         struct error *err)
{
	uint32_t *known = &w->location_of[frames[0]];
	int r = 0;

	if (n > 1)
		return find_run(w, frames, n, ret, err);
	if (!*known)
		r = write_location(w, frames, 1, known, err);
	if (r == 0)
		*ret = *known;
	return r;
}

static int write_label(struct writer *w, const struct profile_label *l, struct error *err)
{
	uint32_t key, text, unit;
	int r = put_string(w, profile_text(w->p, l->key), &key, err);

	if (r == 0)
		r = put_string(w, profile_text(w->p, l->text), &text, err);
	if (r == 0)
		r = put_string(w, profile_text(w->p, l->unit), &unit, err);
	if (r < 0)
		return r;
	proto_number(&w->inner, LABEL_KEY, key);
	proto_number(&w->inner, LABEL_TEXT, text);
	if (!l->text) {
		proto_number(&w->inner, LABEL_NUMBER, (uint64_t)l->number);
		proto_number(&w->inner, LABEL_UNIT, unit);
	}
	proto_message(&w->message, SAMPLE_LABEL, &w->inner);
	return 0;
}

/* Ages belong to the moment of the recording and cannot be merged with another;
 * a heap profile has Go's four types, and readers expect just these. */
static bool is_saved(const struct profile_type *t)
{
	size_t len = strlen(t->name);

	return len < 4 || strcmp(t->name + len - 4, "_age") != 0;
}

static int write_sample(struct writer *w, const struct profile_sample *s, struct proto *ids,
                        struct error *err)
{
	int r = 0;

	ids->n = 0;
	for (size_t i = 0; i < s->n_frames;) {
		size_t n = run_length(w->p, s->frames + i, s->n_frames - i);
		uint32_t location = 0;

		r = find_location(w, s->frames + i, n, &location, err);
		if (r < 0)
			return r;
		proto_varint(ids, location);
		i += n;
	}
	/* w->message is free again: locations are complete */
	proto_message(&w->message, SAMPLE_LOCATION, ids);
	for (size_t i = 0; i < profile_n_types(w->p); i++) {
		if (is_saved(profile_type_at(w->p, i)))
			proto_varint(&w->inner, (uint64_t)s->values[i]);
	}
	proto_message(&w->message, SAMPLE_VALUE, &w->inner);
	for (size_t i = 0; r == 0 && i < s->n_labels; i++)
		r = write_label(w, &s->labels[i], err);
	proto_message(&w->out, PPROF_SAMPLE, &w->message);
	return r;
}

static int write_samples(struct writer *w, struct error *err)
{
	struct proto ids = { 0 };
	int r = 0;

	for (size_t i = 0; r == 0 && i < profile_n_samples(w->p); i++) {
		struct profile_sample s = profile_sample_at(w->p, i);

		r = write_sample(w, &s, &ids, err);
	}
	w->out.failed |= ids.failed;
	proto_clear(&ids);
	return r;
}

static int write_type(struct writer *w, uint32_t field, const struct profile_type *t,
                      struct error *err)
{
	uint32_t name, unit;
	int r = put_string(w, t->name, &name, err);

	if (r == 0)
		r = put_string(w, t->unit, &unit, err);
	if (r < 0)
		return r;
	proto_number(&w->message, TYPE_NAME, name);
	proto_number(&w->message, TYPE_UNIT, unit);
	proto_message(&w->out, field, &w->message);
	return 0;
}

static int write_head(struct writer *w, struct error *err)
{
	const struct profile_type space = { "space", "bytes" };
	uint32_t name;
	int r = 0;

	for (size_t i = 0; r == 0 && i < profile_n_types(w->p); i++) {
		if (is_saved(profile_type_at(w->p, i)))
			r = write_type(w, PPROF_SAMPLE_TYPE, profile_type_at(w->p, i), err);
	}
	if (r == 0)
		r = put_string(w, profile_type_at(w->p, profile_default_type(w->p))->name, &name,
		               err);
	if (r < 0)
		return r;
	proto_number(&w->out, PPROF_DEFAULT_TYPE, name);
	proto_number(&w->out, PPROF_TIME_NANOS, (uint64_t)profile_start_unix_ns(w->p));
	proto_number(&w->out, PPROF_DURATION_NANOS, (uint64_t)profile_duration_ns(w->p));
	/* values are totals already, so nothing is to be scaled by a period */
	proto_number(&w->out, PPROF_PERIOD, 1);
	return write_type(w, PPROF_PERIOD_TYPE, &space, err);
}

static int write_comment(void *arg, const char *text, struct error *err)
{
	struct writer *w = arg;
	uint32_t id;
	int r = put_string(w, text, &id, err);

	/* not packed: comments are few, and old readers expect it so */
	if (r == 0)
		proto_number(&w->out, PPROF_COMMENT, id);
	return r;
}

static void write_strings(struct writer *w)
{
	for (size_t i = 0; i < w->strings.n_texts; i++) {
		const char *s = w->strings.texts[i];

		proto_bytes(&w->out, PPROF_STRING, s, strlen(s));
	}
}

static int write_all(struct writer *w, struct error *err)
{
	int r = write_head(w, err);

	if (r == 0)
		r = pprof_report_write(profile_report_const(w->p), write_comment, w, err);
	if (r == 0)
		r = pprof_intervals_write(w->p, write_comment, w, err);
	if (r == 0)
		r = collect_mappings(w, err);
	if (r < 0)
		return r;
	place_mappings(w);
	r = write_mappings(w, err);
	if (r == 0)
		r = write_samples(w, err);
	if (r < 0)
		return r;
	proto_append(&w->out, &w->locations);
	proto_append(&w->out, &w->functions);
	write_strings(w);
	return w->out.failed ? error_oom(err) : 0;
}

int pprof_write(const struct profile *p, FILE *to, struct error *err)
{
	cleanup(writer_clear) struct writer w = { .p = p };
	int r;

	strings_init(&w.strings, strings_random());
	w.location_of = calloc(profile_n_frames(p) + 1, sizeof(*w.location_of));
	if (!w.location_of)
		return error_oom(err);
	r = write_all(&w, err);
	return r < 0 ? r : gzip_write(w.out.bytes, w.out.n, to, err);
}
