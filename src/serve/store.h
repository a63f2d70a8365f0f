/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * A capture that is made by itself goes where such captures go: the spool, the
 * pushes, the counts and the log. A disk may take a tenth of a second for what is
 * to be kept, so that is done by a thread, one capture after the other; all that
 * is said of it is said by the service's own thread, in store_run().
 *
 * The surprising rule: while the thread works ->spool and ->pushes of the service
 * are its. Who changes them waits for it first (store_drain()).
 */

#include "serve/jobs.h"
#include "serve/service.h"
#include "serve/spool.h"

int store_new(struct service *s, struct store **ret, struct error *err);
/* Keeps what is still to be kept. NULL is fine; returns NULL. */
struct store *store_free(struct store *st);

/* What became of a capture; NULL: it is not kept. */
typedef void store_done(void *arg, const struct spool_capture *kept);

/* @by: who wants it kept, for the log. @kind: "heap", "map", "refs" or "ladder". What goes wrong is
 * noted in the log and counted. @done (may be NULL) is called with @arg in any case, later. */
void store_capture(struct store *st, const struct spool_about *about, const struct jobs_result *r,
                   const char *by, const char *kind, store_done *done, void *arg);
/* Too old captures are deleted, by the thread. */
void store_prune(struct store *st);

/* Says what has been kept since; to be called ten times a second. */
void store_run(struct store *st);
/* Until all is kept, and said. */
void store_drain(struct store *st);
