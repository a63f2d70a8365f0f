/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "profile/otlp.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/hash.h"
#include "profile/strings.h"
#include "profile/text.h"

/* ---- the dictionary ---- */

/* Elements as they are encoded, each once, so that equal ones have one index; 0 is the zero value,
 * which is an empty message in each table. */
struct table {
	struct proto bytes;
	size_t *ends; /* of each element, in ->bytes */
	size_t n, cap;
	struct hash_map ids; /* hash of the element -> index */
};

static void table_clear(struct table *t)
{
	proto_clear(&t->bytes);
	free(t->ends);
	hash_map_clear(&t->ids);
}

/* Numbers of the fields of ProfilesDictionary. */
enum { MAPPINGS = 1, LOCATIONS, FUNCTIONS, LINKS, STRINGS, ATTRIBUTES, STACKS, N_TABLES };

struct writer {
	const struct profile *p;
	struct table tables[N_TABLES]; /* 0 is none */
	struct text text;
	struct proto message, inner, list, samples; /* being built */
	uint64_t seed;
	int failed;
	struct error *err;
};

static void writer_clear(struct writer *w)
{
	for (size_t i = 0; i < N_TABLES; i++)
		table_clear(&w->tables[i]);
	text_clear(&w->text);
	proto_clear(&w->message);
	proto_clear(&w->inner);
	proto_clear(&w->list);
	proto_clear(&w->samples);
}

static size_t start_of(const struct table *t, size_t i)
{
	return i ? t->ends[i - 1] : 0;
}

static uint32_t append(struct writer *w, struct table *t, const void *bytes, size_t len,
                       uint64_t hash)
{
	const struct proto more = { .bytes = (uint8_t *)bytes, .n = len };

	if (w->failed == 0)
		w->failed = array_reserve(&t->ends, &t->cap, t->n + 1, w->err);
	if (w->failed == 0)
		w->failed = hash_map_put(&t->ids, hash, t->n, w->err);
	if (w->failed < 0)
		return 0;
	proto_append(&t->bytes, &more);
	t->ends[t->n] = t->bytes.n;
	return (uint32_t)t->n++;
}

static uint32_t intern(struct writer *w, unsigned table, const void *bytes, size_t len)
{
	struct table *t = &w->tables[table];
	const uint64_t hash = hash_bytes(bytes, len, w->seed);
	uint64_t *id;
	size_t pos = 0;

	if (!len) /* the zero value */
		return 0;
	while ((id = hash_map_next(&t->ids, hash, &pos))) {
		const size_t at = start_of(t, *id);

		if (!t->bytes.failed && t->ends[*id] - at == len &&
		    !memcmp(t->bytes.bytes + at, bytes, len))
			return (uint32_t)*id;
	}
	return append(w, t, bytes, len, hash);
}

/* @m is emptied. */
static uint32_t intern_message(struct writer *w, unsigned table, struct proto *m)
{
	uint32_t id = intern(w, table, m->bytes, m->n);

	if (m->failed && w->failed == 0)
		w->failed = error_oom(w->err);
	m->n = 0;
	return id;
}

/* To ->text: protobuf's strings are that. */
static void as_utf8(struct writer *w, const char *s)
{
	w->text.n = 0;
	if (w->failed == 0)
		w->failed = text_append_utf8(&w->text, s, strlen(s), w->err);
}

static uint32_t intern_text(struct writer *w, const char *s)
{
	as_utf8(w, s);
	return w->failed < 0 ? 0 : intern(w, STRINGS, w->text.s, w->text.n);
}

static uint32_t intern_id(struct writer *w, uint32_t string)
{
	return string ? intern_text(w, profile_text(w->p, string)) : 0;
}

/* KeyValueAndUnit; AnyValue has text in its field 1, integers in 3. */
static uint32_t intern_attribute(struct writer *w, uint32_t key, const char *text, int64_t number,
                                 uint32_t unit)
{
	proto_number(&w->message, 1, key);
	if (text)
		proto_bytes(&w->inner, 1, text, strlen(text));
	else { /* written although it may be 0: which of them it is, is in the field's number */
		proto_varint(&w->inner, 3 << 3 | PROTO_VARINT);
		proto_varint(&w->inner, (uint64_t)number);
	}
	proto_message(&w->message, 2, &w->inner);
	proto_number(&w->message, 3, unit);
	return intern_message(w, ATTRIBUTES, &w->message);
}

/* A field of packed numbers; nothing if there are none. */
static void put_list(struct proto *to, uint32_t field, struct proto *numbers)
{
	if (numbers->n)
		proto_message(to, field, numbers);
}

/* ---- code ---- */

static uint32_t build_id_of(const struct profile *p, uint32_t path)
{
	for (size_t i = 0; i < profile_n_modules(p); i++) {
		if (profile_module_at(p, i)->path == path)
			return profile_module_at(p, i)->build_id;
	}
	return 0;
}

static uint32_t intern_mapping(struct writer *w, uint32_t path)
{
	const uint32_t build_id = build_id_of(w->p, path), file = intern_id(w, path);

	if (!path)
		return 0;
	if (build_id) {
		const char *text = profile_text(w->p, build_id);
		uint32_t key = intern_text(w, "process.executable.build_id.gnu");

		proto_varint(&w->list, intern_attribute(w, key, text, 0, 0));
	}
	proto_number(&w->message, 4, file);
	put_list(&w->message, 5, &w->list);
	return intern_message(w, MAPPINGS, &w->message);
}

static void put_line(struct writer *w, const struct profile_frame *f, struct proto *location)
{
	const uint32_t name = intern_id(w, f->name), file = intern_id(w, f->file);
	uint32_t function;

	if (!name && !file)
		return;
	proto_number(&w->message, 1, name);
	proto_number(&w->message, 3, file);
	function = intern_message(w, FUNCTIONS, &w->message);
	proto_number(&w->inner, 1, function);
	proto_number(&w->inner, 2, f->line);
	proto_message(location, 3, &w->inner);
}

/* The location that begins with frame @at: it, and whom it was inlined into. *at: behind it. */
static uint32_t intern_location(struct writer *w, const struct profile_sample *s, size_t *at)
{
	cleanup(proto_clear) struct proto location = { 0 };
	const struct profile_frame *f = profile_frame_at(w->p, s->frames[*at]);

	proto_number(&location, 1, intern_mapping(w, f->module));
	proto_number(&location, 2, f->offset);
	for (;;) {
		f = profile_frame_at(w->p, s->frames[(*at)++]);
		put_line(w, f, &location);
		if (!f->inlined || *at == s->n_frames)
			break;
	}
	return intern_message(w, LOCATIONS, &location);
}

static uint32_t intern_stack(struct writer *w, const struct profile_sample *s)
{
	cleanup(proto_clear) struct proto locations = { 0 };

	for (size_t i = 0; i < s->n_frames;)
		proto_varint(&locations, intern_location(w, s, &i));
	put_list(&w->message, 1, &locations);
	return intern_message(w, STACKS, &w->message);
}

/* ---- samples ---- */

static void put_sample(struct writer *w, const struct profile_sample *s, int64_t value)
{
	cleanup(proto_clear) struct proto sample = { 0 };
	cleanup(proto_clear) struct proto attributes = { 0 };

	proto_number(&sample, 1, intern_stack(w, s));
	for (size_t i = 0; i < s->n_labels; i++) {
		const struct profile_label *l = &s->labels[i];
		const uint32_t key = intern_id(w, l->key), unit = intern_id(w, l->unit);
		const char *text = l->text ? profile_text(w->p, l->text) : NULL;

		if (text)
			as_utf8(w, text);
		proto_varint(&attributes,
		             intern_attribute(w, key, text ? w->text.s : NULL, l->number, unit));
	}
	put_list(&sample, 2, &attributes);
	proto_varint(&w->list, (uint64_t)value);
	put_list(&sample, 4, &w->list);
	proto_message(&w->samples, 2, &sample);
}

/* One of the value types. false: it has nothing. */
static bool put_profile(struct writer *w, size_t type, const struct otlp_options *o,
                        struct proto *to)
{
	const struct profile_type *t = profile_type_at(w->p, type);
	const uint64_t id[2] = { o->id[0], o->id[1] + type };

	for (size_t i = 0; i < profile_n_samples(w->p) && w->failed == 0; i++) {
		const struct profile_sample s = profile_sample_at(w->p, i);

		if (s.values[type])
			put_sample(w, &s, s.values[type]);
	}
	if (!w->samples.n && type != profile_default_type(w->p))
		return false;
	proto_number(&w->inner, 1, intern_text(w, t->name));
	proto_number(&w->inner, 2, intern_text(w, t->unit));
	proto_message(to, 1, &w->inner);
	proto_append(to, &w->samples);
	w->samples.n = 0;
	proto_fixed64(to, 3, (uint64_t)o->unix_ns);
	proto_bytes(to, 7, id, sizeof(id));
	return true;
}

/* ---- the request ---- */

/* KeyValue of the protocol's common part: key, AnyValue. */
static void put_resource(struct writer *w, const struct otlp_options *o, struct proto *to)
{
	cleanup(proto_clear) struct proto resource = { 0 };

	for (size_t i = 0; i < o->n_resource; i++) {
		proto_bytes(&w->message, 1, o->resource[i].key, strlen(o->resource[i].key));
		as_utf8(w, o->resource[i].value);
		proto_bytes(&w->inner, 1, w->text.s, w->text.n);
		proto_message(&w->message, 2, &w->inner);
		proto_message(&resource, 1, &w->message);
	}
	proto_message(to, 1, &resource);
}

static void put_profiles(struct writer *w, const struct otlp_options *o, struct proto *to)
{
	cleanup(proto_clear) struct proto scope = { 0 };
	cleanup(proto_clear) struct proto one = { 0 };

	proto_bytes(&w->inner, 1, "memwho", strlen("memwho"));
	proto_message(&scope, 1, &w->inner);
	for (size_t i = 0; i < profile_n_types(w->p); i++) {
		if (put_profile(w, i, o, &one))
			proto_message(&scope, 2, &one);
	}
	proto_message(to, 2, &scope);
}

static void put_dictionary(const struct writer *w, struct proto *to)
{
	for (uint32_t i = MAPPINGS; i < N_TABLES; i++) {
		const struct table *t = &w->tables[i];

		for (size_t k = 0; k < t->n; k++)
			proto_bytes(to, i, t->bytes.bytes + start_of(t, k),
			            t->ends[k] - start_of(t, k));
		to->failed |= t->bytes.failed;
	}
}

int otlp_write(const struct profile *p, const struct otlp_options *o, struct proto *to,
               struct error *err)
{
	cleanup(writer_clear) struct writer w = { .p = p, .seed = strings_random(), .err = err };
	cleanup(proto_clear) struct proto resource = { 0 };
	cleanup(proto_clear) struct proto dictionary = { 0 };

	for (size_t i = MAPPINGS; i < N_TABLES; i++)
		append(&w, &w.tables[i], "", 0, 0);
	put_resource(&w, o, &resource);
	put_profiles(&w, o, &resource);
	if (w.failed < 0)
		return w.failed;
	put_dictionary(&w, &dictionary);
	proto_message(to, 1, &resource);
	proto_message(to, 2, &dictionary);
	return to->failed ? error_oom(err) : 0;
}
