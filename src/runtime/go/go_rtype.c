/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_rtype.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
	WORD = 8,
	ALIGN = 21, /* abi.Type.Align_; FieldAlign_ behind it */
	KIND_MASK = 31,
	TFLAG_UNCOMMON = 1,
	TFLAG_EXTRA_STAR = 2,
	TFLAG_NAMED = 4,
	TFLAGS = 0x3f,
	FIELD_BYTES = 24, /* Name, Typ, Offset */
	NAME_FLAGS = 15,  /* exported, tag, pkgPath, embedded */
	MAX_TYPES_BYTES = 1 << 28,
	MAX_DEPTH = 8,
	LAST_KIND = 26,
};

bool go_rtype_open(struct go_rtype *n, const struct go_module *m)
{
	*n = (struct go_rtype){ .module = m, .l = m->layout, .start = m->types, .end = m->etypes };
	if (n->start % WORD || n->end <= n->start || n->end - n->start > MAX_TYPES_BYTES)
		return false;
	n->bytes = image_at(m->image, n->start, n->end - n->start);
	return n->bytes != NULL;
}

static const uint8_t *at_bytes(const struct go_rtype *n, uint64_t at, uint64_t len)
{
	if (at < n->start || at >= n->end || n->end - at < len)
		return NULL;
	return n->bytes + (at - n->start);
}

uint64_t go_rtype_word(const struct go_rtype *n, uint64_t at)
{
	const uint8_t *p = at_bytes(n, at, WORD);
	uint64_t v;

	if (!p)
		return image_uint64(n->module->image, at);
	memcpy(&v, p, sizeof(v));
	return v;
}

static bool is_alignment(uint8_t a)
{
	return a == 1 || a == 2 || a == 4 || a == 8;
}

unsigned go_rtype_kind(const struct go_rtype *n, uint64_t at)
{
	const uint8_t *p = at % WORD ? NULL : at_bytes(n, at, n->l->type_bytes);
	unsigned kind;

	if (!p || (p[n->l->type_tflag] & ~TFLAGS) || !is_alignment(p[ALIGN]) ||
	    !is_alignment(p[ALIGN + 1]))
		return 0;
	kind = p[n->l->type_kind] & KIND_MASK;
	return kind <= LAST_KIND ? kind : 0;
}

bool go_rtype_is_named(const struct go_rtype *n, uint64_t at)
{
	const uint8_t *p = at_bytes(n, at, n->l->type_bytes);

	return p && (p[n->l->type_tflag] & TFLAG_NAMED);
}

/* ---- texts ---- */

/* abi.Name: a byte of flags, the length as a varint (1.17+), the bytes. */
static void copy_name(const struct go_rtype *n, uint64_t at, char *buf, size_t size)
{
	const uint8_t *p = at_bytes(n, at, 3);
	uint64_t len;

	if (!size)
		return;
	buf[0] = '\0';
	if (!p || p[0] & ~NAME_FLAGS)
		return;
	len = p[1] & 0x7f;
	at += 2;
	if (p[1] & 0x80) {
		if (p[2] & 0x80)
			return;
		len |= (uint64_t)p[2] << 7;
		at++;
	}
	p = at_bytes(n, at, len);
	if (!p)
		return;
	if (len >= size)
		len = size - 1;
	memcpy(buf, p, len);
	buf[len] = '\0';
	for (char *c = buf; *c; c++) {
		if ((unsigned char)*c < ' ')
			*c = '?';
	}
}

static void name_at_offset(const struct go_rtype *n, uint64_t at, char *buf, size_t size)
{
	const uint8_t *p = at_bytes(n, at, 4);
	int32_t offset = 0;

	buf[0] = '\0';
	if (p)
		memcpy(&offset, p, sizeof(offset));
	if (offset > 0)
		copy_name(n, n->start + (uint64_t)offset, buf, size);
}

void go_rtype_string(const struct go_rtype *n, uint64_t at, char *buf, size_t size)
{
	const uint8_t *p = at_bytes(n, at, n->l->type_bytes);

	name_at_offset(n, at + n->l->type_str, buf, size);
	if (p && (p[n->l->type_tflag] & TFLAG_EXTRA_STAR) && buf[0])
		memmove(buf, buf + 1, strlen(buf));
}

/* Bytes of a descriptor before its UncommonType. */
static uint64_t bytes_before_uncommon(const struct go_rtype *n, uint64_t at)
{
	switch (go_rtype_kind(n, at)) {
	case GO_RTYPE_ARRAY: return 72;
	case GO_RTYPE_CHAN: return 64;
	case GO_RTYPE_FUNC:
	case GO_RTYPE_POINTER:
	case GO_RTYPE_SLICE: return 56;
	case GO_RTYPE_INTERFACE:
	case GO_RTYPE_STRUCT: return 80;
	case GO_RTYPE_MAP: return n->l->maptype_bytes;
	default: return n->l->type_bytes;
	}
}

/* "lru.Cache[...]" with its package's path: "example.com/lru.Cache[...]". */
static void named(const struct go_rtype *n, uint64_t at, char *buf, size_t size)
{
	const uint8_t *p = at_bytes(n, at, n->l->type_bytes);
	char string[GO_RTYPE_NAME_BYTES], path[GO_RTYPE_NAME_BYTES];
	const char *dot;

	go_rtype_string(n, at, string, sizeof(string));
	path[0] = '\0';
	if (p && (p[n->l->type_tflag] & TFLAG_UNCOMMON))
		name_at_offset(n, at + bytes_before_uncommon(n, at), path, sizeof(path));
	dot = string + strcspn(string, ".[");
	if (path[0] && *dot == '.')
		snprintf(buf, size, "%s%s", path, dot);
	else
		snprintf(buf, size, "%s", string);
}

static void compose(const struct go_rtype *n, uint64_t at, int depth, char *buf, size_t size);

static void around(const struct go_rtype *n, const char *before, uint64_t elem, int depth,
                   char *buf, size_t size)
{
	size_t len;

	snprintf(buf, size, "%s", before);
	len = strlen(buf);
	compose(n, elem, depth + 1, buf + len, size - len);
}

static void compose(const struct go_rtype *n, uint64_t at, int depth, char *buf, size_t size)
{
	static const char *const directions[] = { "", "<-chan ", "chan<- ", "chan " };
	uint64_t elem = go_rtype_word(n, at + n->l->type_bytes);
	char text[32];

	if (go_rtype_is_named(n, at))
		return named(n, at, buf, size);
	if (depth > MAX_DEPTH)
		return go_rtype_string(n, at, buf, size);
	switch (go_rtype_kind(n, at)) {
	case GO_RTYPE_POINTER: return around(n, "*", elem, depth, buf, size);
	case GO_RTYPE_SLICE: return around(n, "[]", elem, depth, buf, size);
	case GO_RTYPE_ARRAY:
		snprintf(text, sizeof(text), "[%" PRIu64 "]",
		         go_rtype_word(n, at + n->l->type_bytes + 2 * WORD));
		return around(n, text, elem, depth, buf, size);
	case GO_RTYPE_CHAN:
		return around(n, directions[go_rtype_word(n, at + n->l->type_bytes + WORD) & 3],
		              elem, depth, buf, size);
	case GO_RTYPE_MAP:
		around(n, "map[", elem, depth, buf, size);
		snprintf(buf + strlen(buf), size - strlen(buf), "]");
		elem = go_rtype_word(n, at + n->l->type_bytes + WORD);
		return compose(n, elem, depth + 1, buf + strlen(buf), size - strlen(buf));
	default: return go_rtype_string(n, at, buf, size);
	}
}

void go_rtype_name(const struct go_rtype *n, uint64_t at, char *buf, size_t size)
{
	buf[0] = '\0';
	if (at_bytes(n, at, n->l->type_bytes))
		compose(n, at, 0, buf, size);
}

bool go_rtype_field(const struct go_rtype *n, uint64_t fields, uint64_t i, char *name, size_t size,
                    uint64_t *ret_type, uint64_t *ret_offset)
{
	uint64_t at = fields + i * FIELD_BYTES;

	if (!at_bytes(n, at, FIELD_BYTES))
		return false;
	copy_name(n, go_rtype_word(n, at), name, size);
	*ret_type = go_rtype_word(n, at + WORD);
	*ret_offset = go_rtype_word(n, at + 2 * WORD);
	/* offsetAnon (1.17, 1.18): the lowest bit says "embedded" */
	if (n->module->layout->minor < 19)
		*ret_offset >>= 1;
	return true;
}
