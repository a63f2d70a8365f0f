/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bpf/plain_btf.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/btf.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

/* Newer than the headers of Ubuntu 22.04. */
enum { KIND_DECL_TAG = 17, KIND_TYPE_TAG = 18, KIND_ENUM64 = 19 };

struct enum64 {
	uint32_t name, low, high;
};

/* Bytes behind a type's struct btf_type; SIZE_MAX: no such kind. */
static size_t extra_bytes(unsigned kind, size_t n)
{
	switch (kind) {
	case BTF_KIND_PTR:
	case BTF_KIND_FWD:
	case BTF_KIND_TYPEDEF:
	case BTF_KIND_VOLATILE:
	case BTF_KIND_CONST:
	case BTF_KIND_RESTRICT:
	case BTF_KIND_FUNC:
	case BTF_KIND_FLOAT:
	case KIND_TYPE_TAG: return 0;
	case BTF_KIND_INT:
	case BTF_KIND_VAR:
	case KIND_DECL_TAG: return 4;
	case BTF_KIND_ARRAY: return sizeof(struct btf_array);
	case BTF_KIND_STRUCT:
	case BTF_KIND_UNION: return n * sizeof(struct btf_member);
	case BTF_KIND_ENUM: return n * sizeof(struct btf_enum);
	case BTF_KIND_FUNC_PROTO: return n * sizeof(struct btf_param);
	case BTF_KIND_DATASEC: return n * sizeof(struct btf_var_secinfo);
	case KIND_ENUM64: return n * sizeof(struct enum64);
	default: return SIZE_MAX;
	}
}

static unsigned plain_kind(unsigned kind)
{
	switch (kind) {
	case KIND_DECL_TAG: return BTF_KIND_VAR;
	case KIND_TYPE_TAG: return BTF_KIND_CONST;
	case KIND_ENUM64: return BTF_KIND_ENUM;
	default: return kind;
	}
}

static size_t put_enum(char *to, const char *from, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct enum64 old;
		struct btf_enum plain;

		memcpy(&old, from + i * sizeof(old), sizeof(old));
		plain = (struct btf_enum){ .name_off = old.name, .val = (int32_t)old.low };
		memcpy(to + i * sizeof(plain), &plain, sizeof(plain));
	}
	return n * sizeof(struct btf_enum);
}

/* One type from @from to @to, which is never longer; the bytes that it has
 * there go to *written. Returns the bytes that it has in @from, 0: broken. */
static size_t put_type(char *to, const char *from, size_t len, size_t *written)
{
	struct btf_type t;
	unsigned kind;
	size_t n, extra;

	if (len < sizeof(t))
		return 0;
	memcpy(&t, from, sizeof(t));
	kind = BTF_INFO_KIND(t.info);
	n = BTF_INFO_VLEN(t.info);
	extra = extra_bytes(kind, n);
	if (extra > len - sizeof(t))
		return 0;
	if (plain_kind(kind) != kind) {
		t.info = plain_kind(kind) << 24 | (kind == KIND_ENUM64 ? n : 0);
		t.name_off = kind == KIND_TYPE_TAG ? 0 : t.name_off;
	}
	memcpy(to, &t, sizeof(t));
	if (kind == KIND_ENUM64)
		*written = sizeof(t) + put_enum(to + sizeof(t), from + sizeof(t), n);
	else
		memcpy(to + sizeof(t), from + sizeof(t), extra);
	if (kind == KIND_DECL_TAG) /* a variable's linkage */
		memset(to + sizeof(t), 0, extra);
	if (kind != KIND_ENUM64)
		*written = sizeof(t) + extra;
	return sizeof(t) + extra;
}

static bool header_is_sound(const struct btf_header *h, size_t len)
{
	size_t body = len - h->hdr_len;

	return h->magic == BTF_MAGIC && h->hdr_len >= sizeof(*h) && h->hdr_len <= len &&
	       h->type_off <= body && h->type_len <= body - h->type_off && h->str_off <= body &&
	       h->str_len <= body - h->str_off;
}

int plain_btf_convert(const void *data, size_t len, void **ret, size_t *ret_len, struct error *err)
{
	cleanup_free char *out = NULL;
	struct btf_header h;
	const char *types, *strings;
	size_t used = sizeof(h);

	if (len < sizeof(h))
		return error_set(err, EINVAL, "not BTF");
	memcpy(&h, data, sizeof(h));
	if (!header_is_sound(&h, len))
		return error_set(err, EINVAL, "not BTF");
	out = malloc(sizeof(h) + h.type_len + h.str_len);
	if (!out)
		return error_oom(err);
	types = (const char *)data + h.hdr_len + h.type_off;
	strings = (const char *)data + h.hdr_len + h.str_off;
	for (size_t at = 0, step, written; at < h.type_len; at += step, used += written) {
		step = put_type(out + used, types + at, h.type_len - at, &written);
		if (!step)
			return error_set(err, EINVAL, "unknown or broken BTF type at byte %zu", at);
	}
	memcpy(out + used, strings, h.str_len);
	h.hdr_len = sizeof(h);
	h.type_off = 0;
	h.type_len = (uint32_t)(used - sizeof(h));
	h.str_off = h.type_len;
	memcpy(out, &h, sizeof(h));
	*ret_len = used + h.str_len;
	*ret = take_ptr(out);
	return 0;
}

static int read_all(const char *path, char **ret, size_t *ret_len, struct error *err)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	cleanup_free char *data = NULL;
	struct stat st;
	size_t n = 0;

	if (fd < 0 || fstat(fd, &st) < 0)
		return error_sys(err, errno, "%s", path);
	data = malloc((size_t)st.st_size + 1);
	if (!data)
		return error_oom(err);
	while (n < (size_t)st.st_size) {
		ssize_t got = read(fd, data + n, (size_t)st.st_size - n);

		if (got <= 0)
			return error_sys(err, got ? errno : EIO, "%s", path);
		n += (size_t)got;
	}
	*ret = take_ptr(data);
	*ret_len = n;
	return 0;
}

int plain_btf_open(int *ret_fd, struct error *err)
{
	static const char path[] = "/sys/kernel/btf/vmlinux";
	cleanup_free char *data = NULL;
	cleanup_free void *plain = NULL;
	cleanup_close int fd = -1;
	size_t len = 0, plain_len = 0;
	int r = read_all(path, &data, &len, err);

	if (r == 0)
		r = plain_btf_convert(data, len, &plain, &plain_len, err);
	if (r < 0)
		return error_context(err, "%s", path);
	fd = memfd_create("btf", MFD_CLOEXEC);
	if (fd < 0)
		return error_sys(err, errno, "memfd_create");
	for (size_t n = 0; n < plain_len;) {
		ssize_t put = write(fd, (char *)plain + n, plain_len - n);

		if (put <= 0)
			return error_sys(err, put ? errno : EIO, "%s", path);
		n += (size_t)put;
	}
	*ret_fd = take_fd(fd);
	return 0;
}
