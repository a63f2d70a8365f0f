/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* A capture that is made by itself goes where such captures go: the spool, the pushes, the
 * counts and the log. */

#include "serve/jobs.h"
#include "serve/service.h"
#include "serve/spool.h"

/* @by: who wants it kept, for the log. @kind: "heap", "map", "refs" or "ladder". What goes wrong is
 * noted in the log and counted. *ret (may be NULL) is what became of it. */
int store_capture(struct service *s, const struct spool_about *about, const struct jobs_result *r,
                  const char *by, const char *kind, struct spool_capture *ret);
