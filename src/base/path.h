/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <string.h>

/* What follows the last '/' of @path: its file's name; all of it where there is
 * none, or nothing behind it. */
static inline const char *path_base(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash && slash[1] ? slash + 1 : path;
}
