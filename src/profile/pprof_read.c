/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/path.h"
#include "profile/gzip.h"
#include "profile/pprof.h"
#include "profile/pprof_format.h"
#include "profile/proto.h"
#include "profile/report_reader.h"
#include "profile/text.h"

/* A packed file names a thing with few bytes and we hold it in many, so each
 * kind of thing has its limit besides the unpacked size. */
enum {
	MAX_UNPACKED = 256 * 1024 * 1024,
	MAX_THINGS = 4 * 1024 * 1024,   /* strings, functions, locations */
	MAX_LINES = 16 * 1024 * 1024,   /* of all locations */
	MAX_FRAMES = 256 * 1024 * 1024, /* of all samples' stacks */
};

struct mapping {
	uint64_t id, start, file_offset;
	uint32_t file; /* string id in the profile */
};

struct function {
	uint64_t id, name, file; /* strings of the file */
};

/* Where a location's frames are in `frames`. */
struct location {
	size_t start;
	uint32_t n;
};

struct reader {
	struct proto_reader whole;
	struct profile *p;
	struct text text;

	struct proto_reader *strings; /* by index in the file */
	size_t n_strings, cap_strings;
	uint32_t *string_ids; /* in the profile, + 1; 0: not yet asked for */

	struct mapping *mappings;
	size_t n_mappings, cap_mappings;
	struct hash_map mapping_of;
	struct function *functions;
	size_t n_functions, cap_functions;
	struct hash_map function_of;
	struct location *locations;
	size_t n_locations, cap_locations;
	struct hash_map location_of;

	uint32_t *frames; /* of all locations */
	size_t n_frames, cap_frames;
	uint32_t *stack; /* room for one */
	size_t n_stack, n_all_frames;

	uint64_t type_names[PROFILE_MAX_TYPES], type_units[PROFILE_MAX_TYPES];
	size_t n_types;
	uint64_t default_type;
	int64_t time_ns, duration_ns;
};

static void reader_clear(struct reader *r)
{
	profile_free(r->p);
	text_clear(&r->text);
	free(r->strings);
	free(r->string_ids);
	free(r->mappings);
	hash_map_clear(&r->mapping_of);
	free(r->functions);
	hash_map_clear(&r->function_of);
	free(r->locations);
	hash_map_clear(&r->location_of);
	free(r->frames);
	free(r->stack);
}

static int bad(struct error *err, const char *what)
{
	return error_set(err, EBADMSG, "not a valid pprof profile: %s", what);
}

/* The next field of a message: 1, 0 at its end, or an error. */
static int next(struct proto_reader *m, struct proto_field *f, const char *what, struct error *err)
{
	int r = proto_next(m, f);

	return r < 0 ? error_set(err, EBADMSG, "not a valid pprof profile: damaged %s", what) : r;
}

/* Strings */

static int check_string(const struct reader *r, uint64_t index, struct error *err)
{
	return index < r->n_strings || index == 0 ? 0 : bad(err, "it names a missing string");
}

/* String @index of the file, cleaned, in r->text. */
static int clean_string(struct reader *r, uint64_t index, struct error *err)
{
	const struct proto_reader *s;
	int e = check_string(r, index, err);

	r->text.n = 0;
	if (e < 0)
		return e;
	if (!r->n_strings)
		return text_append(&r->text, "", 0, err);
	s = &r->strings[index];
	return text_append_utf8(&r->text, (const char *)s->at, (size_t)(s->end - s->at), err);
}

static int string_id(struct reader *r, uint64_t index, uint32_t *ret, struct error *err)
{
	int e = check_string(r, index, err);

	if (e < 0)
		return e;
	if (!r->n_strings || !r->string_ids[index]) {
		uint32_t id;

		e = clean_string(r, index, err);
		if (e == 0)
			e = profile_string(r->p, r->text.s, r->text.n, &id, err);
		if (e < 0)
			return e;
		if (!r->n_strings) {
			*ret = id;
			return 0;
		}
		r->string_ids[index] = id + 1;
	}
	*ret = r->string_ids[index] - 1;
	return 0;
}

/* First pass: everything but locations and samples, which refer to the rest. */

static int add_string(struct reader *r, const struct proto_field *f, struct error *err)
{
	int e;

	if (r->n_strings >= MAX_THINGS)
		return bad(err, "too many strings");
	e = array_reserve(&r->strings, &r->cap_strings, r->n_strings + 1, err);
	if (e == 0)
		r->strings[r->n_strings++] = f->body;
	return e;
}

static int add_type(struct reader *r, struct proto_reader m, struct error *err)
{
	struct proto_field f;
	int e;

	if (r->n_types == PROFILE_MAX_TYPES)
		return bad(err, "more than 8 value types");
	while ((e = next(&m, &f, "value type", err)) > 0) {
		if (f.number == TYPE_NAME)
			r->type_names[r->n_types] = f.value;
		else if (f.number == TYPE_UNIT)
			r->type_units[r->n_types] = f.value;
	}
	r->n_types += e == 0;
	return e;
}

static int add_function(struct reader *r, struct proto_reader m, struct error *err)
{
	struct function fn = { 0 };
	struct proto_field f;
	int e;

	while ((e = next(&m, &f, "function", err)) > 0) {
		if (f.number == FUNCTION_ID)
			fn.id = f.value;
		else if (f.number == FUNCTION_NAME)
			fn.name = f.value;
		else if (f.number == FUNCTION_FILE)
			fn.file = f.value;
	}
	if (e < 0)
		return e;
	if (r->n_functions >= MAX_THINGS)
		return bad(err, "too many functions");
	e = array_reserve(&r->functions, &r->cap_functions, r->n_functions + 1, err);
	if (e == 0)
		e = hash_map_put(&r->function_of, fn.id, r->n_functions, err);
	if (e == 0)
		r->functions[r->n_functions++] = fn;
	return e;
}

static int first_field(struct reader *r, const struct proto_field *f, struct error *err)
{
	switch (f->number) {
	case PPROF_SAMPLE_TYPE: return add_type(r, f->body, err);
	case PPROF_FUNCTION: return add_function(r, f->body, err);
	case PPROF_STRING: return add_string(r, f, err);
	case PPROF_TIME_NANOS: r->time_ns = (int64_t)f->value; break;
	case PPROF_DURATION_NANOS: r->duration_ns = (int64_t)f->value; break;
	case PPROF_DEFAULT_TYPE: r->default_type = f->value; break;
	}
	return 0;
}

/* Call @fn for every field of the file. */
static int each_field(struct reader *r,
                      int (*fn)(struct reader *r, const struct proto_field *f, struct error *err),
                      struct error *err)
{
	struct proto_reader m = r->whole;
	struct proto_field f;
	int e;

	while ((e = next(&m, &f, "top level", err)) > 0) {
		e = fn(r, &f, err);
		if (e < 0)
			return error_context(err, "before byte %zu", (size_t)(m.at - r->whole.at));
	}
	return e;
}

static int make_types(struct reader *r, struct profile_type *types, size_t *ret_default,
                      struct error *err)
{
	if (!r->n_types)
		return bad(err, "no value types");
	/* the format's rule: without a default, the last one */
	*ret_default = r->n_types - 1;
	for (size_t i = 0; i < r->n_types; i++) {
		int e = clean_string(r, r->type_names[i], err);

		if (e < 0)
			return e;
		snprintf(types[i].name, sizeof(types[i].name), "%s", r->text.s);
		e = clean_string(r, r->type_units[i], err);
		if (e < 0)
			return e;
		snprintf(types[i].unit, sizeof(types[i].unit), "%s", r->text.s);
		if (r->default_type && r->default_type == r->type_names[i])
			*ret_default = i;
	}
	return 0;
}

static int make_profile(struct reader *r, struct error *err)
{
	struct profile_type types[PROFILE_MAX_TYPES] = { 0 };
	size_t default_type = 0;
	int e = make_types(r, types, &default_type, err);

	if (e == 0)
		e = profile_new(&r->p, types, r->n_types, default_type, err);
	if (e < 0)
		return e;
	profile_set_time(r->p, r->time_ns, r->duration_ns);
	r->string_ids = calloc(r->n_strings + 1, sizeof(*r->string_ids));
	r->stack = calloc(PROFILE_MAX_FRAMES, sizeof(*r->stack));
	return r->string_ids && r->stack ? 0 : error_oom(err);
}

/* Second pass: mappings, which may stand behind the locations in a file. */

static int keep_mapping(struct reader *r, struct mapping *map, uint64_t file, uint64_t build_id,
                        struct error *err)
{
	uint32_t id;
	int e = string_id(r, file, &map->file, err);

	if (e == 0)
		e = string_id(r, build_id, &id, err);
	if (e == 0 && map->file)
		e = profile_module_set(r->p, map->file, id, err);
	if (e == 0)
		e = array_reserve(&r->mappings, &r->cap_mappings, r->n_mappings + 1, err);
	if (e == 0)
		e = hash_map_put(&r->mapping_of, map->id, r->n_mappings, err);
	if (e == 0)
		r->mappings[r->n_mappings++] = *map;
	return e;
}

static int mapping_field(struct reader *r, const struct proto_field *field, struct error *err)
{
	struct proto_reader m = field->body;
	uint64_t file = 0, build_id = 0;
	struct mapping map = { 0 };
	struct proto_field f;
	int e;

	if (field->number != PPROF_MAPPING)
		return 0;
	while ((e = next(&m, &f, "mapping", err)) > 0) {
		switch (f.number) {
		case MAPPING_ID: map.id = f.value; break;
		case MAPPING_START: map.start = f.value; break;
		case MAPPING_FILE_OFFSET: map.file_offset = f.value; break;
		case MAPPING_FILE: file = f.value; break;
		case MAPPING_BUILD_ID: build_id = f.value; break;
		}
	}
	if (e < 0)
		return e;
	if (r->n_mappings >= MAX_THINGS)
		return bad(err, "too many mappings");
	return keep_mapping(r, &map, file, build_id, err);
}

/* Third pass: locations, each a few frames. */

/* The writer names code without a symbol "module+0xoffset": no name at all. */
static bool is_place(struct reader *r, uint32_t name, const struct profile_frame *f)
{
	const char *text = profile_text(r->p, name);
	const char *module = path_base(profile_text(r->p, f->module));
	size_t n = strlen(module);
	char offset[32];

	snprintf(offset, sizeof(offset), "+0x%" PRIx64, f->offset);
	return *module && strncmp(text, module, n) == 0 && strcmp(text + n, offset) == 0;
}

static int push_frame(struct reader *r, const struct profile_frame *f, struct error *err)
{
	uint32_t id;
	int e;

	if (r->n_frames >= MAX_LINES)
		return bad(err, "too many lines");
	e = profile_frame(r->p, f, &id, err);
	if (e == 0)
		e = array_reserve(&r->frames, &r->cap_frames, r->n_frames + 1, err);
	if (e == 0)
		r->frames[r->n_frames++] = id;
	return e;
}

static int add_line(struct reader *r, struct proto_reader m, struct profile_frame f,
                    struct error *err)
{
	uint64_t function = 0, line = 0, *at;
	struct proto_field field;
	int e;

	while ((e = next(&m, &field, "line", err)) > 0) {
		if (field.number == LINE_FUNCTION)
			function = field.value;
		else if (field.number == LINE_LINE)
			line = field.value;
	}
	if (e < 0)
		return e;
	at = hash_map_get(&r->function_of, function);
	if (function && !at)
		return bad(err, "a location names a missing function");
	if (at)
		e = string_id(r, r->functions[*at].name, &f.name, err);
	if (at && e == 0)
		e = string_id(r, r->functions[*at].file, &f.file, err);
	if (e < 0)
		return e;
	if (is_place(r, f.name, &f))
		f.name = 0;
	f.line = line <= UINT32_MAX ? (uint32_t)line : 0;
	return push_frame(r, &f, err);
}

/* Code of which nothing but the address is known. */
static int name_address(struct reader *r, struct profile_frame *f, struct error *err)
{
	char address[32];

	if (f->module || !f->offset)
		return 0;
	snprintf(address, sizeof(address), "0x%" PRIx64, f->offset);
	return profile_string(r->p, address, strlen(address), &f->name, err);
}

static int add_lines(struct reader *r, struct proto_reader m, struct profile_frame f,
                     struct error *err)
{
	size_t left = 0;
	struct proto_reader count = m;
	struct proto_field field;
	int e;

	while ((e = next(&count, &field, "location", err)) > 0)
		left += field.number == LOCATION_LINE;
	if (e < 0)
		return e;
	if (!left) {
		e = name_address(r, &f, err);
		return e < 0 ? e : push_frame(r, &f, err);
	}
	while ((e = next(&m, &field, "location", err)) > 0) {
		if (field.number != LOCATION_LINE)
			continue;
		/* the last line is the function that the others are inlined into */
		f.inlined = --left > 0;
		e = add_line(r, field.body, f, err);
		if (e < 0)
			return e;
	}
	return e;
}

static int locate(const struct reader *r, uint64_t mapping, uint64_t address,
                  struct profile_frame *ret, struct error *err)
{
	uint64_t *at = mapping ? hash_map_get(&r->mapping_of, mapping) : NULL;

	if (mapping && !at)
		return bad(err, "a location names a missing mapping");
	*ret = (struct profile_frame){ .offset = address };
	if (at && r->mappings[*at].file) {
		const struct mapping *m = &r->mappings[*at];

		ret->module = m->file;
		ret->offset = address - m->start + m->file_offset;
	}
	return 0;
}

static int location_field(struct reader *r, const struct proto_field *field, struct error *err)
{
	uint64_t id = 0, mapping = 0, address = 0;
	struct proto_reader m = field->body;
	size_t start = r->n_frames;
	struct profile_frame frame;
	struct proto_field f;
	int e;

	if (field->number != PPROF_LOCATION)
		return 0;
	while ((e = next(&m, &f, "location", err)) > 0) {
		if (f.number == LOCATION_ID)
			id = f.value;
		else if (f.number == LOCATION_MAPPING)
			mapping = f.value;
		else if (f.number == LOCATION_ADDRESS)
			address = f.value;
	}
	if (e == 0)
		e = locate(r, mapping, address, &frame, err);
	if (e == 0)
		e = add_lines(r, field->body, frame, err);
	if (e < 0)
		return e;
	if (r->n_locations >= MAX_THINGS)
		return bad(err, "too many locations");
	e = array_reserve(&r->locations, &r->cap_locations, r->n_locations + 1, err);
	if (e == 0)
		e = hash_map_put(&r->location_of, id, r->n_locations, err);
	if (e == 0)
		r->locations[r->n_locations++] =
			(struct location){ start, (uint32_t)(r->n_frames - start) };
	return e;
}

/* Last pass: samples and comments. */

static int push_location(struct reader *r, uint64_t id, struct error *err)
{
	uint64_t *at = hash_map_get(&r->location_of, id);
	const struct location *l;

	if (!at)
		return bad(err, "a sample names a missing location");
	l = &r->locations[*at];
	if (l->n > PROFILE_MAX_FRAMES - r->n_stack)
		return bad(err, "a stack of more than 4096 frames");
	if (r->n_all_frames + l->n > MAX_FRAMES)
		return bad(err, "too many frames");
	memcpy(r->stack + r->n_stack, r->frames + l->start, l->n * sizeof(*r->stack));
	r->n_stack += l->n;
	r->n_all_frames += l->n;
	return 0;
}

struct sample_parts {
	int64_t values[PROFILE_MAX_TYPES];
	size_t n_values;
	struct profile_label labels[PROFILE_MAX_LABELS];
	size_t n_labels;
};

static int push_value(struct reader *r, struct sample_parts *s, uint64_t v, struct error *err)
{
	if (s->n_values == r->n_types)
		return bad(err, "a sample has more values than there are types");
	s->values[s->n_values++] = (int64_t)v;
	return 0;
}

static int push_label(struct reader *r, struct sample_parts *s, struct proto_reader m,
                      struct error *err)
{
	uint64_t key = 0, text = 0, unit = 0;
	struct profile_label l = { 0 };
	struct proto_field f;
	int e;

	while ((e = next(&m, &f, "label", err)) > 0) {
		switch (f.number) {
		case LABEL_KEY: key = f.value; break;
		case LABEL_TEXT: text = f.value; break;
		case LABEL_NUMBER: l.number = (int64_t)f.value; break;
		case LABEL_UNIT: unit = f.value; break;
		}
	}
	if (e == 0)
		e = string_id(r, key, &l.key, err);
	if (e == 0)
		e = string_id(r, text, &l.text, err);
	if (e == 0)
		e = string_id(r, unit, &l.unit, err);
	if (e < 0)
		return e;
	if (s->n_labels == PROFILE_MAX_LABELS)
		return bad(err, "a sample with more than 16 labels");
	s->labels[s->n_labels++] = l;
	return 0;
}

/* Numbers come packed or one by one. */
static int push_numbers(struct reader *r, struct sample_parts *s, struct proto_field *f,
                        struct error *err)
{
	bool is_value = f->number == SAMPLE_VALUE;
	uint64_t v;
	int e = 0;

	if (f->wire == PROTO_VARINT)
		return is_value ? push_value(r, s, f->value, err) : push_location(r, f->value, err);
	while (e == 0 && f->body.at < f->body.end) {
		if (proto_read_varint(&f->body, &v) < 0)
			return bad(err, "damaged sample");
		e = is_value ? push_value(r, s, v, err) : push_location(r, v, err);
	}
	return e;
}

static int add_sample(struct reader *r, struct proto_reader m, struct error *err)
{
	struct sample_parts s = { 0 };
	struct proto_field f;
	int e;

	r->n_stack = 0;
	while ((e = next(&m, &f, "sample", err)) > 0) {
		if (f.number == SAMPLE_LOCATION || f.number == SAMPLE_VALUE)
			e = push_numbers(r, &s, &f, err);
		else if (f.number == SAMPLE_LABEL)
			e = push_label(r, &s, f.body, err);
		if (e < 0)
			return e;
	}
	if (e < 0)
		return e;
	if (s.n_values != r->n_types)
		return bad(err, "a sample has fewer values than there are types");
	return profile_add(r->p, r->stack, r->n_stack, s.labels, s.n_labels, s.values, err);
}

static int sample_field(struct reader *r, const struct proto_field *f, struct error *err)
{
	return f->number == PPROF_SAMPLE ? add_sample(r, f->body, err) : 0;
}

static int read_comment(struct reader *r, struct report_reader *report, uint64_t index,
                        struct error *err)
{
	int e = clean_string(r, index, err);

	return e < 0 ? e : report_reader_take(report, r->text.s, profile_report(r->p), err);
}

static int read_comments(struct reader *r, struct error *err)
{
	cleanup(report_reader_clear) struct report_reader report = { 0 };
	struct proto_reader m = r->whole;
	struct proto_field f;
	int e;

	while ((e = next(&m, &f, "top level", err)) > 0) {
		uint64_t index = f.value;

		if (f.number != PPROF_COMMENT)
			continue;
		if (f.wire == PROTO_VARINT)
			e = read_comment(r, &report, index, err);
		while (e >= 0 && f.body.at < f.body.end) {
			if (proto_read_varint(&f.body, &index) < 0)
				return bad(err, "damaged comments");
			e = read_comment(r, &report, index, err);
		}
		if (e < 0)
			return e;
	}
	if (e == 0)
		e = report_reader_finish(&report, profile_report(r->p), err);
	if (report.n_ignored)
		log_note(LOG_WARN, "%zu damaged figures of the saved report were left out",
		         report.n_ignored);
	return e;
}

static int read_plain(const uint8_t *data, size_t len, struct profile **ret, struct error *err)
{
	cleanup(reader_clear) struct reader r = { .whole = { data, data + len } };
	int e = each_field(&r, first_field, err);

	if (e == 0)
		e = make_profile(&r, err);
	if (e == 0)
		e = each_field(&r, mapping_field, err);
	if (e == 0)
		e = each_field(&r, location_field, err);
	if (e == 0)
		e = each_field(&r, sample_field, err);
	if (e == 0)
		e = read_comments(&r, err);
	if (e == 0)
		*ret = take_ptr(r.p);
	return e;
}

int pprof_read(const void *data, size_t len, struct profile **ret, struct error *err)
{
	cleanup_free uint8_t *unpacked = NULL;
	int r;

	if (!gzip_is(data, len)) {
		if (len > MAX_UNPACKED)
			return error_set(err, EFBIG, "a profile of more than 256 MiB");
		return read_plain(data, len, ret, err);
	}
	r = gzip_read(data, len, MAX_UNPACKED, &unpacked, &len, err);
	return r < 0 ? r : read_plain(unpacked, len, ret, err);
}
