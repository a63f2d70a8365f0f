/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Bodies that need no capture, made at once from what is known. */

#include <stdio.h>

#include "base/error.h"
#include "serve/peer.h"
#include "serve/service.h"

/* {"error": ..., "hint": ...}; with @running (may be NULL) what runs and when it ends. */
void answer_error(FILE *to, const struct error *err, const struct jobs_running *running);
/* What @p may see, as a list; @only: one of them. */
void answer_targets(const struct service *s, const struct peer *p, FILE *to);
void answer_target(const struct service *s, struct watched_item *item, FILE *to);
/* Prometheus' HTTP service discovery (prometheus.io/docs, http_sd): a list of targets with the
 * path of their profiles; @host: how the client calls us, or NULL. */
void answer_sd(const struct service *s, const struct peer *p, const char *host, FILE *to);
/* The command line with NULs between the words, as Go's /debug/pprof/cmdline. */
int answer_cmdline(const struct watched_item *item, FILE *to, struct error *err);
/* What there is below debug/pprof/. */
void answer_index(const struct watched_item *item, FILE *to);
int answer_metrics(const struct service *s, enum metrics_format format, FILE *to,
                   struct error *err);
/* Captures of the spool that @p may see; @target: NULL of all. */
int answer_captures(const struct service *s, const struct peer *p, const char *target, FILE *to,
                    struct error *err);
/* May @p see captures of @target? Of one that is not there any more: who sees all. */
bool answer_may_list(const struct service *s, const struct peer *p, const char *target);
/* The page of `/`; readable without JavaScript. */
void answer_page(const struct service *s, const struct peer *p, FILE *to);
