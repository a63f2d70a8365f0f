/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* gzip in and out by zlib. Unpacking is bounded: a few kilobytes can claim to
 * be gigabytes. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"

bool gzip_is(const void *data, size_t len);

/* Write @data packed. -EIO if the stream fails. */
int gzip_write(const void *data, size_t len, FILE *to, struct error *err);

/* Unpack all members of @data. *ret is the caller's to free. -EBADMSG for
 * damaged data, -EFBIG above @max bytes. */
int gzip_read(const void *data, size_t len, size_t max, uint8_t **ret, size_t *ret_len,
              struct error *err);
