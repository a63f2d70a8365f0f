/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * All [push]es of a configuration: what was captured goes to each of them. The
 * queues lie in the spool's folder (.push-NAME), and are kept when a
 * section goes: it may come back.
 */

#include "serve/config.h"
#include "serve/metrics_page.h"
#include "serve/push.h"
#include "serve/spool.h"

struct pushes;

/* -EINVAL, with the section's line: what cannot work, found without opening anything. */
int pushes_check(const struct config *c, struct error *err);
/* Starts a thread for each. Threads have all signals blocked. */
int pushes_new(const struct config *c, struct pushes **ret, struct error *err);
struct pushes *pushes_free(struct pushes *p); /* NULL is fine; returns NULL */

/* What the spool has that was never queued, because the service was killed between the two, is
 * queued now, the oldest first: at most PUSHES_MOST_LATE for each. A queue that is new begins with
 * what comes. */
enum { PUSHES_MOST_LATE = 100 };
void pushes_catch_up(struct pushes *p, struct spool *spool);

/* A capture of @len bytes (gzipped pprof) to be read from @fd, which stays the caller's, and
 * where it is. Not an absolute profile (a difference, say): not to be called. What goes
 * wrong is counted, and noted in the log; the capture is in the spool in any case. */
void pushes_add(struct pushes *p, const struct spool_capture *c, const char *kind, int fd,
                uint64_t len);

/* Another configuration: a [push] that is as it was goes on, the others end (which takes up to
 * a second, while they give up what they are sending) and begin anew with their queues. What
 * does not open is noted in the log. */
void pushes_reload(struct pushes *p, const struct config *old, const struct config *c);

/* As the page wants them; malloc'ed. Names are borrowed from @p. NULL @p: none. */
int pushes_rows(struct pushes *p, struct metrics_page_push **ret, size_t *n, struct error *err);
