/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The spool: captures on disk, one file each (TARGET/TIME-NUMBER-TRIGGER.pb.gz),
 * and an index of them in SQLite. What spool_commit() has acknowledged survives
 * kill -9 and a full disk.
 *
 * The surprising rule: the files are the truth and the index is a help. A whole
 * file without a row gets one when the spool is opened, a row without a file
 * goes, and an index that is broken is made again. Therefore a file is whole
 * before it has its name, and has its name before it has a row; it loses its
 * name before its row.
 *
 * Age is counted by time that has passed, not by what the clock says: a clock
 * that jumps by years deletes nothing. Time between two runs counts by the
 * clock, but as a day at most.
 *
 * All functions may be called by several threads; one process has a spool open.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"

enum {
	SPOOL_NAME_BYTES = 128, /* of a target: the longest name is one byte shorter */
	SPOOL_ID_BYTES = 80,
	SPOOL_TRIGGER_BYTES = 32,
	SPOOL_REASON_BYTES = 256,
};

/* Now, in ns: @unix_ns by the wall clock, @passed_ns by one that cannot be set
 * and goes on while the machine sleeps (CLOCK_BOOTTIME). */
struct spool_clock {
	int64_t unix_ns, passed_ns;
};

struct spool_options {
	const char *folder;    /* made with mode 0700 */
	uint64_t max_bytes;    /* of all files together; 0: no limit, as below */
	uint64_t max_captures; /* of all targets together */
	uint64_t max_age_s;
	unsigned min_free_percent;              /* of the file system, for a new capture; 0: 5 */
	void (*clock)(struct spool_clock *ret); /* NULL: the machine's */
};

/* What is known of a capture before it is written. */
struct spool_about {
	const char *target;   /* any text; a file name is made of it */
	const char *trigger;  /* [a-z0-9_-]: "growth", "limit", "request", "baseline" ... */
	const char *reason;   /* a sentence; NULL: none */
	const char *baseline; /* id of the capture it is to be compared with; NULL: none */
	uint64_t held_bytes;  /* what the target held; the largest of a target is kept */
	int32_t pid;          /* 0: not known */
};

struct spool_capture {
	char id[SPOOL_ID_BYTES]; /* unique; the file's name without its end */
	char target[SPOOL_NAME_BYTES];
	char trigger[SPOOL_TRIGGER_BYTES];
	char reason[SPOOL_REASON_BYTES];
	char baseline[SPOOL_ID_BYTES]; /* "": none. It may have been deleted since */
	uint64_t number;               /* ascending, never used again */
	int64_t unix_ns;               /* by the wall clock of then */
	uint64_t file_bytes, held_bytes;
	int32_t pid;
};

struct spool_counts {
	uint64_t captures, bytes;    /* there now */
	uint64_t added, evicted;     /* since it was opened */
	uint64_t refused;            /* disk full, too large, or failed */
	uint64_t adopted, rows_lost; /* when opened: files without, rows without file */
	uint64_t unfinished;         /* when opened: files that were being written */
	bool remade;                 /* when opened: the index was broken */
};

struct spool;

/* -EBUSY: another process has it open. -EPERM: the folder is somebody else's. */
int spool_open(const struct spool_options *o, struct spool **ret, struct error *err);
struct spool *spool_close(struct spool *s); /* NULL is fine; returns NULL */
void spool_closep(struct spool **s);        /* for cleanup() */

/* A new retention policy (SIGHUP); takes effect at once. @o->folder is not looked at. */
int spool_set_limits(struct spool *s, const struct spool_options *o, struct error *err);

/* A capture in the making: write to ->to, then commit or drop it. */
struct spool_file {
	FILE *to;
	struct spool *spool;
	struct spool_capture capture;
	int folder; /* of the target */
};

/* -ENOSPC: less than min_free_percent of the file system is free. -EINVAL: a
 * name that is none. *ret belongs to the caller, who ends it by one of the next
 * two. */
int spool_begin(struct spool *s, const struct spool_about *about, struct spool_file *ret,
                struct error *err);
/* It is on disk when this returns 0; *ret (may be NULL) is what became of it.
 * Older captures are deleted as the limits want it: the oldest first, but of each
 * target its first and its largest last. Ends @f in any case. -EFBIG: larger
 * than all captures may be together. -ENOSPC, -EIO: nothing is left of it. */
int spool_commit(struct spool_file *f, struct spool_capture *ret, struct error *err);
void spool_drop(struct spool_file *f); /* also of { 0 } and of one that has ended */

/* All three at once. */
int spool_add(struct spool *s, const struct spool_about *about, const void *data, size_t len,
              struct spool_capture *ret, struct error *err);

/* Captures by number, newest first, of @target (NULL: of all), at most @max
 * (0: all). *ret is the caller's to free. */
int spool_list(struct spool *s, const char *target, size_t max, struct spool_capture **ret,
               size_t *n, struct error *err);
/* -ENOENT: none of that id. */
int spool_find(struct spool *s, const char *id, struct spool_capture *ret, struct error *err);
/* The newest of @target, or with @trigger the newest of that kind; -ENOENT. */
int spool_newest(struct spool *s, const char *target, const char *trigger,
                 struct spool_capture *ret, struct error *err);
/* A descriptor to read it from, the caller's to close; it stays readable when
 * the capture is deleted. -ENOENT. */
int spool_open_capture(struct spool *s, const char *id, int *ret, struct error *err);
int spool_remove(struct spool *s, const char *id, struct error *err);

/* Delete what is too old; to be called now and then. */
int spool_prune(struct spool *s, struct error *err);
/* As of the last call of another function that has ended: it waits for no disk. */
void spool_counts(struct spool *s, struct spool_counts *ret);
