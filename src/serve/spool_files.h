/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The spool's files and their names. Part of spool.c, which says in which order
 * things happen. */

#include "serve/spool.h"

#define SPOOL_FILES_END     ".pb.gz"
#define SPOOL_FILES_TMP_END ".pb.gz.tmp"

/* The folder @path, made with mode 0700 if need be, as a descriptor. Others'
 * permissions are taken away; one of another user is -EPERM. */
int spool_files_open_top(const char *path, int *ret, struct error *err);

/* A target's name as that of a folder: what is not [A-Za-z0-9_.-], and a '.' in
 * front, becomes %XX. -EINVAL: empty, or too long for @size. */
int spool_files_escape(const char *name, char *ret, size_t size, struct error *err);
/* The other way round; false: no escaped name. */
bool spool_files_unescape(const char *escaped, char *ret, size_t size);

/* "20261126T151400Z-17-growth" */
void spool_files_id(const struct spool_capture *c, char *ret);
/* Number, time and trigger out of an id; false: it is none. */
bool spool_files_parse_id(const char *id, struct spool_capture *ret);

/* The folder of @target below @top, made and synced if need be. */
int spool_files_open_target(int top, const char *target, int *ret, struct error *err);

/* Is at least @percent of the file system of @top free? 0, or -ENOSPC. */
int spool_files_check_space(int top, unsigned percent, struct error *err);

/* Delete the file of @c, and its folder when that is empty. A missing file is
 * none to delete. */
int spool_files_delete(int top, const struct spool_capture *c, struct error *err);

/* All capture files, each with what its name says and its size; unfinished ones
 * are deleted and counted. What has another name is left alone. */
int spool_files_each(int top, int (*each)(void *data, const struct spool_capture *c), void *data,
                     uint64_t *unfinished, struct error *err);

/* Sum of inuse_space of a profile; 0: it is none, or has no such type. */
uint64_t spool_files_held_bytes(int top, const struct spool_capture *c);
