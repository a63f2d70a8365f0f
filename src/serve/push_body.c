/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/push_body.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "base/json.h"
#include "profile/otlp.h"
#include "profile/pprof.h"

const char *push_body_path(enum push_body_kind k)
{
	static const char *const paths[] = {
		[PUSH_BODY_PYROSCOPE] = "/push.v1.PusherService/Push",
		[PUSH_BODY_PARCA] = "/api/profiles/writeraw",
		[PUSH_BODY_OTLP] = "/v1development/profiles",
	};

	return paths[k];
}

const char *push_body_type(enum push_body_kind k)
{
	return k == PUSH_BODY_OTLP ? "application/x-protobuf" : "application/json";
}

bool push_body_is_label(const char *label)
{
	size_t n = strcspn(label, "=");

	return label[n] == '=' && n > 0 && !(label[0] >= '0' && label[0] <= '9') &&
	       strspn(label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") ==
	               n;
}

/* RFC 4648, with padding; straight to the stream: a profile may be large. */
static void write_base64(const uint8_t *data, size_t len, FILE *to)
{
	static const char letters[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	fputc('"', to);
	for (size_t i = 0; i < len; i += 3) {
		size_t n = len - i < 3 ? len - i : 3;
		uint32_t v = (uint32_t)data[i] << 16 | (n > 1 ? (uint32_t)data[i + 1] << 8 : 0) |
		             (n > 2 ? data[i + 2] : 0);

		fputc(letters[v >> 18], to);
		fputc(letters[v >> 12 & 63], to);
		fputc(n > 1 ? letters[v >> 6 & 63] : '=', to);
		fputc(n > 2 ? letters[v & 63] : '=', to);
	}
	fputc('"', to);
}

/* Of host and capture. */
static void hash_item(const struct push_queue_item *i, const char *host, uint64_t ret[2])
{
	uint64_t seed = hash_bytes(host, strlen(host), (uint64_t)i->unix_ns);

	ret[0] = hash_bytes(i->id, strlen(i->id), seed);
	ret[1] = hash_bytes(i->target, strlen(i->target), ret[0]);
}

/* A UUID (version 8 of RFC 9562: made of what one likes). */
static void make_id(const struct push_queue_item *i, const char *host, char *ret, size_t size)
{
	uint64_t hash[2], high, low;

	hash_item(i, host, hash);
	high = hash[0];
	low = hash[1];
	snprintf(ret, size, "%08" PRIx64 "-%04" PRIx64 "-8%03" PRIx64 "-%04" PRIx64 "-%012" PRIx64,
	         high >> 32, high >> 16 & 0xffff, high & 0xfff, 0x8000 | (low >> 48 & 0x3fff),
	         low & 0xffffffffffff);
}

static void label(struct json *j, const char *name, size_t len, const char *value)
{
	json_object(j);
	json_key(j, "name");
	json_string_n(j, name, len);
	json_key(j, "value");
	json_string(j, value);
	json_object_end(j);
}

/* Heaps as everybody's; what only we have by names of its own. */
static const char *name_of(const struct push_queue_item *item)
{
	static const char *const names[][2] = { { "map", "memwho_map" },
		                                { "refs", "memwho_refs" },
		                                { "ladder", "memwho_ladder" } };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcmp(item->kind, names[i][0]))
			return names[i][1];
	return "memory";
}

static void write_labels(struct json *j, const struct push_queue_item *item, const char *host,
                         const char *const *labels, size_t n)
{
	json_key(j, "labels");
	json_array(j);
	label(j, "__name__", strlen("__name__"), name_of(item));
	label(j, "service_name", strlen("service_name"), item->target);
	label(j, "host", strlen("host"), host);
	label(j, "trigger", strlen("trigger"), item->trigger);
	for (size_t i = 0; i < n; i++)
		if (push_body_is_label(labels[i]))
			label(j, labels[i], strcspn(labels[i], "="), strchr(labels[i], '=') + 1);
	json_array_end(j);
}

static void write_samples(struct json *j, enum push_body_kind k, const struct push_queue_item *item,
                          const char *host)
{
	char id[64];

	make_id(item, host, id, sizeof(id));
	json_key(j, "samples");
	json_array(j);
	json_object(j);
	if (k == PUSH_BODY_PYROSCOPE) {
		json_key(j, "ID");
		json_string(j, id);
	}
	json_key(j, "rawProfile");
	/* straight behind the colon, which the writer need not know of */
	write_base64(item->data, item->len, j->to);
	j->after_key = false;
	json_object_end(j);
	json_array_end(j);
}

static void write_json(enum push_body_kind k, const struct push_queue_item *item, const char *host,
                       const char *const *labels, size_t n_labels, FILE *to)
{
	struct json j = json_on(to);

	json_object(&j);
	json_key(&j, "series");
	json_array(&j);
	json_object(&j);
	if (k == PUSH_BODY_PARCA) {
		json_key(&j, "labels");
		json_object(&j);
		write_labels(&j, item, host, labels, n_labels);
		json_object_end(&j);
	} else {
		write_labels(&j, item, host, labels, n_labels);
	}
	write_samples(&j, k, item, host);
	json_object_end(&j);
	json_array_end(&j);
	json_object_end(&j);
}

/* ---- OTLP ---- */

enum { OWN_ATTRIBUTES = 4, MAX_LABELS = 64 };

/* "zone=a" as two texts; *memory is the caller's to free. */
static size_t add_labels(const char *const *labels, size_t n, struct otlp_attribute *to,
                         char **memory)
{
	size_t have = 0;

	for (size_t i = 0; i < n && have < MAX_LABELS; i++) {
		char *copy = push_body_is_label(labels[i]) ? strdup(labels[i]) : NULL;

		if (!copy)
			continue;
		memory[have] = copy;
		copy[strcspn(copy, "=")] = '\0';
		to[have++] = (struct otlp_attribute){ copy, copy + strlen(copy) + 1 };
	}
	return have;
}

static int write_otlp(const struct push_queue_item *item, const char *host,
                      const char *const *labels, size_t n_labels, FILE *to, struct error *err)
{
	cleanup(profile_freep) struct profile *p = NULL;
	cleanup(proto_clear) struct proto body = { 0 };
	struct otlp_attribute resource[OWN_ATTRIBUTES + MAX_LABELS] = {
		{ "service.name", item->target },
		{ "host.name", host },
		{ "memwho.trigger", item->trigger },
		{ "memwho.kind", item->kind[0] ? item->kind : "heap" },
	};
	struct otlp_options o = { .unix_ns = item->unix_ns, .resource = resource };
	char *memory[MAX_LABELS] = { NULL };
	int r = pprof_read(item->data, item->len, &p, err);

	if (r < 0)
		return r;
	o.n_resource = OWN_ATTRIBUTES +
	               add_labels(labels, n_labels, resource + OWN_ATTRIBUTES, memory);
	hash_item(item, host, o.id);
	r = otlp_write(p, &o, &body, err);
	if (r == 0 && fwrite(body.bytes, 1, body.n, to) != body.n)
		r = error_oom(err);
	for (size_t i = 0; i < MAX_LABELS; i++)
		free(memory[i]);
	return r;
}

int push_body_write(enum push_body_kind k, const struct push_queue_item *item, const char *host,
                    const char *const *labels, size_t n_labels, FILE *to, struct error *err)
{
	if (k == PUSH_BODY_OTLP)
		return write_otlp(item, host, labels, n_labels, to, err);
	write_json(k, item, host, labels, n_labels, to);
	return 0;
}

/* ExportProfilesServiceResponse: partial_success 1 { rejected_profiles 1, error_message 2 } */
bool push_body_is_rejected(enum push_body_kind k, const void *answer, size_t len)
{
	struct proto_reader r = { answer, (const uint8_t *)answer + len };
	struct proto_field outer, inner;

	while (k == PUSH_BODY_OTLP && proto_next(&r, &outer) > 0) {
		while (outer.number == 1 && proto_next(&outer.body, &inner) > 0) {
			if (inner.number == 1 && inner.wire == PROTO_VARINT && inner.value)
				return true;
		}
	}
	return false;
}
