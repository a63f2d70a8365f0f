/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "profile/proto.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"

enum { VARINT_BYTES = 10 };

void proto_clear(struct proto *b)
{
	free(b->bytes);
	*b = (struct proto){ 0 };
}

static bool make_room(struct proto *b, size_t more)
{
	struct error err;

	if (b->failed || more > SIZE_MAX - b->n ||
	    array_reserve(&b->bytes, &b->cap, b->n + more, &err) < 0)
		b->failed = true;
	return !b->failed;
}

void proto_varint(struct proto *b, uint64_t v)
{
	if (!make_room(b, VARINT_BYTES))
		return;
	for (; v >= 0x80; v >>= 7)
		b->bytes[b->n++] = (uint8_t)(v | 0x80);
	b->bytes[b->n++] = (uint8_t)v;
}

void proto_number(struct proto *b, uint32_t field, uint64_t v)
{
	if (!v)
		return;
	proto_varint(b, field << 3 | PROTO_VARINT);
	proto_varint(b, v);
}

static void put(struct proto *b, const void *bytes, size_t len)
{
	if (!len || !make_room(b, len))
		return;
	memcpy(b->bytes + b->n, bytes, len);
	b->n += len;
}

void proto_fixed64(struct proto *b, uint32_t field, uint64_t v)
{
	uint8_t bytes[8];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(v >> (8 * i));
	proto_varint(b, field << 3 | PROTO_FIXED64);
	put(b, bytes, sizeof(bytes));
}

void proto_bytes(struct proto *b, uint32_t field, const void *bytes, size_t len)
{
	proto_varint(b, field << 3 | PROTO_BYTES);
	proto_varint(b, len);
	put(b, bytes, len);
}

void proto_append(struct proto *b, const struct proto *more)
{
	put(b, more->bytes, more->n);
	b->failed |= more->failed;
}

void proto_message(struct proto *b, uint32_t field, struct proto *message)
{
	proto_bytes(b, field, message->bytes, message->n);
	b->failed |= message->failed;
	message->n = 0;
}

int proto_read_varint(struct proto_reader *r, uint64_t *ret)
{
	uint64_t v = 0;

	for (int i = 0; i < VARINT_BYTES; i++) {
		uint8_t byte;

		if (r->at == r->end)
			return -EBADMSG;
		byte = *r->at++;
		v |= (uint64_t)(byte & 0x7f) << (7 * i);
		if (byte < 0x80) {
			*ret = v;
			return 0;
		}
	}
	return -EBADMSG;
}

static int read_fixed(struct proto_reader *r, size_t n, uint64_t *ret)
{
	uint64_t v = 0;

	if ((size_t)(r->end - r->at) < n)
		return -EBADMSG;
	for (size_t i = 0; i < n; i++)
		v |= (uint64_t)r->at[i] << (8 * i);
	r->at += n;
	*ret = v;
	return 0;
}

static int read_bytes(struct proto_reader *r, struct proto_reader *ret)
{
	uint64_t len;

	if (proto_read_varint(r, &len) < 0 || len > (uint64_t)(r->end - r->at))
		return -EBADMSG;
	*ret = (struct proto_reader){ r->at, r->at + len };
	r->at += len;
	return 0;
}

int proto_next(struct proto_reader *r, struct proto_field *ret)
{
	struct proto_field f = { 0 };
	uint64_t tag;
	int e;

	if (r->at == r->end)
		return 0;
	if (proto_read_varint(r, &tag) < 0 || tag >> 3 == 0 || tag >> 3 >= 1u << 29)
		return -EBADMSG;
	f.number = (uint32_t)(tag >> 3);
	f.wire = (enum proto_wire)(tag & 7);
	switch (f.wire) {
	case PROTO_VARINT: e = proto_read_varint(r, &f.value); break;
	case PROTO_FIXED64: e = read_fixed(r, 8, &f.value); break;
	case PROTO_FIXED32: e = read_fixed(r, 4, &f.value); break;
	case PROTO_BYTES: e = read_bytes(r, &f.body); break;
	default: e = -EBADMSG;
	}
	if (e < 0)
		return e;
	*ret = f;
	return 1;
}
