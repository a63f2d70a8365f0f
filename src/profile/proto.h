/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * As much of protobuf's wire format as profile.proto needs
 * (protobuf.dev/programming-guides/encoding): varints, length-delimited
 * fields, and fixed ones to step over. Groups are refused.
 *
 * Writing: a growing buffer whose failure is sticky: a whole message can be
 * written and proto_failed() asked once at the end.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct proto {
	uint8_t *bytes;
	size_t n, cap;
	bool failed; /* out of memory; bytes are missing */
};

void proto_clear(struct proto *b); /* { 0 } is empty */
void proto_varint(struct proto *b, uint64_t v);
/* Fields; a zero number is left out, as proto3 does. */
void proto_number(struct proto *b, uint32_t field, uint64_t v);
void proto_fixed64(struct proto *b, uint32_t field, uint64_t v); /* also of 0 */
void proto_bytes(struct proto *b, uint32_t field, const void *bytes, size_t len);
/* The fields of @more, as they are. */
void proto_append(struct proto *b, const struct proto *more);
/* @message becomes a field of @b and is emptied (its memory is kept). */
void proto_message(struct proto *b, uint32_t field, struct proto *message);

/* Reading. The bytes that are left; they belong to someone else. */
struct proto_reader {
	const uint8_t *at, *end;
};

enum proto_wire { PROTO_VARINT = 0, PROTO_FIXED64 = 1, PROTO_BYTES = 2, PROTO_FIXED32 = 5 };

struct proto_field {
	uint32_t number;
	enum proto_wire wire;
	uint64_t value;           /* PROTO_VARINT, fixed */
	struct proto_reader body; /* PROTO_BYTES; else empty */
};

/* The next field: 1, 0 at the end, -EBADMSG if the bytes are not one. */
int proto_next(struct proto_reader *r, struct proto_field *ret);
/* A packed number: 0, or -EBADMSG (also at the end). */
int proto_read_varint(struct proto_reader *r, uint64_t *ret);
