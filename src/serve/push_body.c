/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/push_body.h"

#include <inttypes.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "base/json.h"

const char *push_body_path(enum push_body_kind k)
{
	return k == PUSH_BODY_PARCA ? "/api/profiles/writeraw" : "/push.v1.PusherService/Push";
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

/* A UUID (version 8 of RFC 9562: made of what one likes) of host and capture. */
static void make_id(const struct push_queue_item *i, const char *host, char *ret, size_t size)
{
	uint64_t seed = hash_bytes(host, strlen(host), (uint64_t)i->unix_ns);
	uint64_t high = hash_bytes(i->id, strlen(i->id), seed);
	uint64_t low = hash_bytes(i->target, strlen(i->target), high);

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

void push_body_write(enum push_body_kind k, const struct push_queue_item *item, const char *host,
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
